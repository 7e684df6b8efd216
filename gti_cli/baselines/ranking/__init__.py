"""How the items of a catalogue are ranked by a baseline's scores, without more work than the scores need."""
