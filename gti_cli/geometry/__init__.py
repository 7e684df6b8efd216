"""Figures of sets of vectors: spectrum, cosine similarities, comparison of two sets, nearest neighbours."""
