"""Initializers of new rows: from the pretrained rows alone, from texts about the new tokens, and from codebooks."""
