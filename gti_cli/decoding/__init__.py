"""The search for items: the trie of semantic IDs, the model run over hypotheses, beam search and exact search."""
