"""Read ``codebooks.safetensors``: the codebook vectors of each level of the semantic IDs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import read_header

_LEVEL = re.compile(r"level_(\d+)")


def read_codebooks(path: Path) -> list[npt.NDArray[np.float32]]:
    """The codebooks ``level_0``, ``level_1``, …: (K_l, d_code) float32 each.

    Raises:
        InputError: no such file, a damaged one, no ``level_0``, a gap between levels, NaN.
    """
    if not path.is_file():
        raise InputError("no such file", where=str(path), remedy="give the codebooks.safetensors of 'gti build-ids'")
    places = {int(match[1]): place for name, place in read_header(path).items() if (match := _LEVEL.fullmatch(name))}
    if sorted(places) != list(range(len(places))) or not places:
        raise InputError(
            "holds no codebooks level_0, level_1, … without a gap", where=str(path), remedy="run 'gti build-ids' again"
        )
    again = "run 'gti build-ids' again"
    codebooks = []
    for level in range(len(places)):
        if len(places[level].shape) != 2:
            raise InputError(f"level_{level} is no matrix", where=str(path), remedy=again)
        vectors = places[level].rows(np.arange(places[level].shape[0]))
        if not np.isfinite(vectors).all():
            raise InputError(
                f"level_{level} holds NaN or infinity", where=str(path), remedy="run 'gti build-ids' again"
            )
        codebooks.append(vectors)
    return codebooks
