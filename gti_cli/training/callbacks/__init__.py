"""Callbacks of the Trainer: progress, divergence, saving, trackers, validation, and the best weights."""
