"""Stage `gti extend`: add new tokens to a tokenizer, and rows for them to the model's embedding and output head."""
