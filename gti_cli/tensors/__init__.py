"""Read and write matrices in safetensors files by blocks or single rows, without holding a whole file in memory."""
