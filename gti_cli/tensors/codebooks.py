"""Read ``codebooks.safetensors``: the codebook vectors of each level of the semantic IDs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import read_header

_LEVEL = re.compile(r"level_(\d+)")
_REBUILD = "run 'gti build-ids' again"


def read_codebooks(path: Path) -> list[npt.NDArray[np.float32]]:
    """Read the codebooks ``level_0``, ``level_1``, … as (K_l, d_code) float32 arrays, in the order of their levels.

    The file may have fewer levels than the semantic IDs, without the last level that only tells items with equal codes
    apart (``--collisions suffix``). `gti build-ids` itself writes a codebook for that level, too.

    Args:
        path: The file ``codebooks.safetensors`` that `gti build-ids` wrote.

    Raises:
        InputError: When the file is missing or damaged, a level is missing or no matrix, or a number is not finite.
    """
    if not path.is_file():
        raise InputError("no such file", where=str(path), remedy="give the codebooks.safetensors of 'gti build-ids'")
    tensors = {int(match[1]): tensor for name, tensor in read_header(path).items() if (match := _LEVEL.fullmatch(name))}
    if sorted(tensors) != list(range(len(tensors))) or not tensors:
        raise InputError("does not hold codebooks level_0, level_1, … without a gap", where=str(path), remedy=_REBUILD)
    codebooks = []
    for level in range(len(tensors)):
        if len(tensors[level].shape) != 2:
            raise InputError(f"level_{level} is not a matrix", where=str(path), remedy=_REBUILD)
        vectors = tensors[level].rows(np.arange(tensors[level].shape[0]))
        if not np.isfinite(vectors).all():
            raise InputError(f"level_{level} holds NaN or infinity", where=str(path), remedy=_REBUILD)
        codebooks.append(vectors)
    return codebooks
