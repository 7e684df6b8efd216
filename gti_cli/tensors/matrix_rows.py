"""A matrix of which blocks and single rows are read: a tensor, or one that stays in its file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch

from gti_cli.tensors.safetensors_rows import TensorPlace

# Numbers that are held in float32 at a time: a statistic needs no second copy of the matrix.
BLOCK = 1 << 21


class MatrixRows(Protocol):
    """A (V, d) matrix; ``rows[a:b]`` and ``rows[ids]`` are tensors. A `torch.Tensor` is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(V, d)."""

    def __len__(self) -> int:
        """V."""

    def __getitem__(self, which: Any, /) -> torch.Tensor:
        """Rows by slice or by ids (n,)."""


class StoredRows:
    """The first ``height`` rows of a matrix in a safetensors file, read when they are asked for, as float32."""

    def __init__(self, place: TensorPlace, height: int) -> None:
        self._place = place
        self.shape: tuple[int, ...] = (min(height, place.shape[0]), place.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: slice | torch.Tensor, /) -> torch.Tensor:
        if isinstance(which, slice):
            return torch.from_numpy(self._place.rows(np.arange(len(self))[which]))
        ids = which.numpy()
        if ids.size and ids.max() >= len(self):
            raise IndexError(f"row ids must lie in 0 … {len(self) - 1}")
        return torch.from_numpy(self._place.rows(ids))


def blocks(rows: MatrixRows, size: int | None = None) -> Iterator[torch.Tensor]:
    """The rows (V, d), at most ``size`` at a time (None: as many as have `BLOCK` numbers)."""
    step = size or max(1, BLOCK // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
