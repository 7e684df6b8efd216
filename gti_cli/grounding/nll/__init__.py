"""The paper's objective: negative log-likelihood of answers, with a gradient for the new rows only (Algorithm 1)."""
