"""Stage `build-ids`: give each item of a catalogue its semantic ID."""
