"""Pages about a whole workspace, made from what its artifacts say; no model is loaded."""
