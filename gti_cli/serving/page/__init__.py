"""The page at ``/``: one static file, and what it is answered."""
