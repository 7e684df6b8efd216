"""Quantizers: embeddings to one code a level, by residual k-means or by an RQ-VAE."""
