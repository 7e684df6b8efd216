"""Metrics of ranked lists, their bootstrap intervals, and their means over parts of the users or queries."""
