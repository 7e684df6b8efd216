"""Writing adapters of PEFT, merged with their base models, into the workspace."""
