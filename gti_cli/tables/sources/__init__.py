"""Where tables lie: files, folders, globs, the Hugging Face hub and other storage, all brought to this machine."""
