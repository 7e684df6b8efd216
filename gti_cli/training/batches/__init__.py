"""Batches of training examples: which examples share a step, which share a row, and their tensors."""
