"""A (V, d) matrix that is read by blocks or single rows as torch tensors, from memory or from a safetensors file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch

from gti_cli.tensors.safetensors_rows import TensorPlace

# Numbers that a block holds in float32 (8 MiB): statistics over a matrix never need a second copy of the whole matrix.
BLOCK = 1 << 21


class MatrixRows(Protocol):
    """A (V, d) matrix of which ``rows[a:b]`` and ``rows[ids]`` are tensors; a `torch.Tensor` is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(V, d)."""

    def __len__(self) -> int:
        """V."""

    def __getitem__(self, which: Any, /) -> torch.Tensor:
        """Return the rows of a slice, or of ids (n,), as a tensor (n, d)."""


class StoredRows:
    """The first rows of a matrix in a safetensors file, read as float32 whenever they are indexed.

    Args:
        place: A (V, d) tensor in a file.
        height: Number of rows to show; rows behind them cannot be read through this object.
    """

    def __init__(self, place: TensorPlace, height: int) -> None:
        self._place = place
        self.shape: tuple[int, ...] = (min(height, place.shape[0]), place.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: slice | torch.Tensor, /) -> torch.Tensor:
        if isinstance(which, slice):
            return torch.from_numpy(self._place.rows(np.arange(len(self))[which]))
        ids = which.numpy()
        # The file may have more rows than this object shows, so the check inside `TensorPlace.rows` is not enough.
        if ids.size and ids.max() >= len(self):
            raise IndexError(f"row ids must lie in 0 … {len(self) - 1}")
        return torch.from_numpy(self._place.rows(ids))


def blocks(rows: MatrixRows, size: int | None = None) -> Iterator[torch.Tensor]:
    """Yield the rows (V, d) in order, in blocks of at most ``size`` rows (None: as many as have `BLOCK` numbers)."""
    step = size or max(1, BLOCK // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
