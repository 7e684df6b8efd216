"""Text files with tables, CSV and JSONL: read, and explained where they cannot be read."""
