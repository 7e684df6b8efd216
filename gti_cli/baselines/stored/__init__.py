"""Fitted baselines in a file, for a recommender that is used again without fitting."""
