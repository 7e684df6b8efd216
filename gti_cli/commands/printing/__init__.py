"""What commands print in common."""
