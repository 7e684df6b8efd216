"""Collisions: items that share a tuple of codes get different tuples."""
