"""Tell quantized checkpoints from plain ones, by their configuration and by their tensors.

A quantized weight is a block of small integers with scales beside it. gti changes and saves plain weights: without its
scales such a block means nothing, and the saved checkpoint would be wrong without any error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gti_cli.checkpoints.configuration import CONFIG_FILE, check_number_formats, parts, read_config
from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import TensorPlace, read_tensors

UNQUANTIZED = "give the model before quantization, as safetensors in float32, float16 or bfloat16"
# Keys of a configuration: transformers', that of older compressed-tensors, and that of MLX.
_KEYS = ("quantization_config", "compression_config", "quantization")
# Names of tensors that only quantized checkpoints have: block FP8; GPTQ and AWQ; compressed-tensors; bitsandbytes, with
# 8 and with 4 bits; HQQ; quanto; torchao.
_NAMES = re.compile(
    r"_scale_inv$|\.(qweight|qzeros|weight_packed|SCB|absmax|quant_map|W_q|weight\._data|_weight_qdata)$|\.quant_state\."
)
_SMALL_FLOATS = re.compile(r"F[468](_|$)")  # the formats of safetensors with 4, 6 and 8 bits
_INTEGERS = {"U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"}


def check_folder(folder: Path) -> None:
    """Refuse a checkpoint folder that is quantized or whose configuration has an unknown number format.

    Raises:
        InputError: When it is, or its configuration cannot be read.
    """
    config, where = read_config(folder), str(folder)
    check_number_formats(config, str(folder / CONFIG_FILE))
    tensor = _quantized_tensor(folder)
    check_config(config, where, has_plain_weights=tensor is None)
    if tensor is not None:
        raise InputError(
            f"this checkpoint is quantized: it holds the tensor {tensor.name!r} ({tensor.dtype})",
            where=where,
            remedy=UNQUANTIZED,
        )


def check_config(config: Mapping[str, Any], where: str, *, has_plain_weights: bool = False) -> None:
    """Refuse a configuration that says its weights are quantized.

    Args:
        config: Content of ``config.json``.
        where: The checkpoint, for the error line.
        has_plain_weights: Whether the weights are known and none of them is quantized.

    Raises:
        InputError: When it says so; the error names the method.
    """
    method = _method(config)
    if method is not None:
        mend = "; if the weights are not quantized, delete quantization_config from its config.json"
        raise InputError(
            f"this checkpoint is quantized (quant_method {method})",
            where=where,
            remedy=UNQUANTIZED + (mend if has_plain_weights else ""),
        )


def is_quantized_name(name: str) -> bool:
    """Return whether only quantized checkpoints have tensors of this name."""
    return _NAMES.search(name) is not None


def _method(config: Mapping[str, Any]) -> str | None:
    """Return the method of quantization that a configuration names; None for plain weights."""
    for part in parts(config):
        for key in _KEYS:
            settings = part.get(key)
            if not isinstance(settings, Mapping):
                continue
            if settings.get("quant_method") is not None:
                return str(settings["quant_method"])
            if key == "quantization":
                return "mlx"
            if settings.get("load_in_4bit") or settings.get("load_in_8bit"):
                return "bitsandbytes"  # its first configurations did not name it
            return "unknown"
    return None


def _quantized_tensor(folder: Path) -> TensorPlace | None:
    """Return the first tensor by which a folder's weights are quantized; None also where they cannot be read."""
    try:
        tensors = read_tensors(folder)
    except InputError:
        return None  # the reader of the weights says what is wrong with them
    for name, place in tensors.items():
        # Packed weights are integers. Integer vectors are counters and positions, which plain models have, too.
        is_packed = place.dtype in _INTEGERS and name.endswith(".weight") and len(place.shape) > 1
        is_block = name.endswith("_blocks") and f"{name.removesuffix('_blocks')}_scales" in tensors  # MXFP4
        if is_quantized_name(name) or is_packed or is_block or _SMALL_FLOATS.match(place.dtype):
            return place
    return None
