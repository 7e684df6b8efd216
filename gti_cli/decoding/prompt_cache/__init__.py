"""Keys and values of whole prompts that are kept from one search to the next."""
