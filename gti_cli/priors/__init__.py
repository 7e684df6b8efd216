"""Behaviour priors: what other users did, as masses of items behind a history, for training and for search."""
