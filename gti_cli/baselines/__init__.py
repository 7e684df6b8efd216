"""Baselines without a language model: popularity, item-kNN, content-kNN and SASRec for users, BM25 for queries."""
