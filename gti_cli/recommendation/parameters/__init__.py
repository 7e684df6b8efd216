"""What trains in fine-tuning: the optimizer with a rate for the new rows, adapters, the weights of a prior."""
