"""Checkpoints as plain Hugging Face folders: find, load and save them, and know which of their tokens are new."""
