"""What restricts a search to some items: allowed nodes of the trie, and a constraint for `generate` of Hugging Face."""
