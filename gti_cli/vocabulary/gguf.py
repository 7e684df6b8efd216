"""Read a model from a GGUF file, the format of llama.cpp: its weights are quantised, and are dequantised here.

transformers has the reader; it needs the package `gguf`.
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
    """Make sure that ``path`` can be read as GGUF on this machine.

    Raises:
        InputError: no such file, another kind of file, or the package `gguf` is missing.
    """
    from transformers.utils.import_utils import is_gguf_available

    if not path.is_file():
        raise InputError("no such file", where=str(path), remedy="check the path")
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise InputError("this is no GGUF file", where=str(path), remedy="download it again")
    if not is_gguf_available():
        raise InputError(
            "reading GGUF needs the package gguf, which is not installed",
            where=str(path),
            remedy="pip install 'gti-cli[gguf]', or give the model as a Hugging Face folder",
        )


def tensor_types(path: Path) -> dict[str, int]:
    """How many tensors the file holds of each number format: ``{"F32": 61, "Q4_1": 210}``."""
    from gguf import GGUFReader  # type: ignore[import-not-found, unused-ignore]

    return dict(sorted(Counter(str(tensor.tensor_type.name) for tensor in GGUFReader(path).tensors).items()))


def read_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in the file.

    Raises:
        InputError: a damaged file, or a kind of tokenizer that transformers does not read from GGUF.
    """
    try:
        return load_tokenizer(str(path.parent), gguf_file=path.name)
    except Exception as cause:  # the readers beneath raise whatever they meet in a damaged file
        raise InputError(
            f"its tokenizer cannot be read: {cause}",
            where=str(path),
            remedy="download it again, or give the model as a Hugging Face folder",
        ) from cause


def read_model(path: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model in the file, its weights dequantised to ``dtype``, on the CPU.

    Raises:
        InputError: an architecture that transformers does not read from GGUF.
    """
    from transformers import AutoModelForCausalLM

    read = load_model(str(path.parent), torch.device("cpu"), dtype, where=str(path), gguf_file=path.name)
    # transformers will not save a model that came from GGUF: the same weights go, uncopied, into a plain one.
    config = read.config
    config.__dict__.pop("quantization_config", None)
    with translate_loading_errors(str(path)), torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    model.load_state_dict(read.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = read.generation_config
    return model
