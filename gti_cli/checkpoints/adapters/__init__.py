"""Adapters of PEFT: reading them, and merging them into their base models."""
