"""Read a model from a GGUF file, the format of llama.cpp, and dequantize its weights.

The reader is transformers' own; it needs the package `gguf`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gti_cli.checkpoints.loading import load_model, load_tokenizer, translate_loading_errors
from gti_cli.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SUFFIX = ".gguf"
_MAGIC = b"GGUF"


def check_file(path: Path) -> None:
    """Make sure that a file can be read as GGUF on this machine.

    Raises:
        InputError: When the file is missing or of another format, or the package `gguf` is not installed.
    """
    from transformers.utils.import_utils import is_gguf_available

    if not path.is_file():
        raise InputError("no such file", where=str(path), remedy="check the path")
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise InputError("this is not a GGUF file", where=str(path), remedy="download it again")
    if not is_gguf_available():
        raise InputError(
            "reading GGUF needs the package gguf, which is not installed",
            where=str(path),
            remedy="pip install gguf, or give the model as a Hugging Face folder",
        )


def tensor_types(path: Path) -> dict[str, int]:
    """Count the tensors of each number format in the file, such as ``{"F32": 61, "Q4_1": 210}``."""
    from gguf import GGUFReader  # type: ignore[import-not-found, unused-ignore]

    return dict(sorted(Counter(str(tensor.tensor_type.name) for tensor in GGUFReader(path).tensors).items()))


def read_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """Read the tokenizer in the file.

    Raises:
        InputError: When the file is damaged, or transformers cannot read this kind of tokenizer from GGUF.
    """
    try:
        return load_tokenizer(str(path.parent), gguf_file=path.name)
    except Exception as cause:  # the libraries raise exceptions of any class for a damaged file
        raise InputError(
            f"its tokenizer cannot be read: {cause}",
            where=str(path),
            remedy="download it again, or give the model as a Hugging Face folder",
        ) from cause


def read_model(path: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Read the model in the file onto the CPU, with its weights dequantized.

    Args:
        path: The GGUF file.
        dtype: Number format of the dequantized weights.

    Raises:
        InputError: When transformers cannot read this architecture from GGUF.
    """
    from transformers import AutoModelForCausalLM

    loaded = load_model(str(path.parent), torch.device("cpu"), dtype, where=str(path), gguf_file=path.name)
    # transformers refuses to save a model that it read from GGUF. So its weights are moved, without a copy, into a
    # plain model that is built on the meta device, where it takes no memory.
    config = loaded.config
    config.__dict__.pop("quantization_config", None)
    with translate_loading_errors(str(path)), torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = loaded.generation_config
    return model
