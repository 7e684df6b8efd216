"""Cold starts: items whose interactions are hidden from training, and tables divided by them."""
