"""What all stages that train share: the Trainer, its arguments, batches, callbacks, optimizer, LoRA and sharding."""
