"""Quality of semantic IDs: figures, what shared prefixes mean, the report of a run, pictures."""
