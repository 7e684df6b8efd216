"""Stage `extend`: new tokens into a tokenizer and a model. `tokens` (names and ids) is shared by all stages."""
