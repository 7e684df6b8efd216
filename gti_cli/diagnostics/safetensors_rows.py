"""The reader's old place; it is shared ground now."""

from gti_cli.tensors.safetensors_rows import TensorPlace, read_header, read_tensors

__all__ = ["TensorPlace", "read_header", "read_tensors"]
