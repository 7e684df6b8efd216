"""A (V, d) matrix of a model in memory, read by rows as `gti_cli.tensors.safetensors_rows.TensorPlace` is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LoadedMatrix:
    """A matrix in memory.

    Attributes:
        name: Name of the tensor.
        file: Folder that it was loaded from, for error lines.
        numbers: (V, d), in the number format of the model.
    """

    name: str
    file: Path
    numbers: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """(V, d)."""
        return tuple(self.numbers.shape)

    def rows(self, ids: npt.NDArray[np.int64] | Sequence[int]) -> npt.NDArray[np.float32]:
        """Return rows as float32.

        Args:
            ids: (n,) row numbers in any order; they may repeat.

        Returns:
            (n, d) float32.

        Raises:
            IndexError: When an id lies outside 0 … V - 1.
        """
        import torch

        chosen = np.asarray(ids, dtype=np.int64)
        if chosen.size and (chosen.min() < 0 or chosen.max() >= len(self.numbers)):
            raise IndexError(f"row ids must lie in 0 … {len(self.numbers) - 1}")
        values: npt.NDArray[np.float32] = self.numbers[torch.from_numpy(chosen)].float().numpy()
        return values

    def blocks(
        self, ids: npt.NDArray[np.int64], rows: int = 8192
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Yield the rows ``ids`` (n,) in blocks of at most ``rows``, as pairs of ids (m,) and rows (m, d) float32."""
        for start in range(0, len(ids), rows):
            part = ids[start : start + rows]
            yield part, self.rows(part)
