"""Token Distillation: a new token's row learns to produce the hidden states of its phrase (arXiv 2505.20133)."""
