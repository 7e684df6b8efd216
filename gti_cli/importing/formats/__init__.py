"""Readers of data formats, one module for each family."""
