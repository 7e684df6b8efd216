"""Which models can be extended: causal language models with a key-value cache, and the text models of wrappers."""
