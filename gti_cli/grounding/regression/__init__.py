"""Grounding as a softmax regression: the new rows that fit the frozen model's hidden states, solved to the end."""
