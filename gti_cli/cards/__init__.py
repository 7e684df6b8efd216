"""Model cards: the ``README.md`` of a checkpoint, with the metadata of the Hugging Face hub, made from manifests."""
