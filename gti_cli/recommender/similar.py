"""Items that are like another one: by the cosine of their embeddings, or by the codes that their IDs begin with."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError
from gti_cli.tensors.vector_file import VectorFile

_BLOCK_ROWS = 1 << 16  # embeddings read at a time


class Neighbours:
    """Finds similar items of a catalogue.

    Attributes:
        uses_embeddings: Whether cosines of embeddings decide, and not codes.
    """

    def __init__(self, codes: npt.NDArray[np.int32], embeddings: Path | None) -> None:
        """Take a catalogue.

        Args:
            codes: (N, L) semantic IDs.
            embeddings: File with an embedding of each item; it is read when it is first needed. None: there is none.
        """
        self._codes, self._path = codes, embeddings
        self.uses_embeddings = embeddings is not None

    def nearest(
        self, row: int, k: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32] | None, npt.NDArray[np.int64]]:
        """The items that are most like one of them, without that item.

        Args:
            row: Catalogue row of the item.
            k: Most items.

        Returns:
            (n,) catalogue rows, best first; (n,) cosines, or None without embeddings; (n,) codes shared from the first
            on. Among equally similar items those that share more codes come first, then those of lower row.
        """
        shared = np.logical_and.accumulate(self._codes == self._codes[row], axis=1).sum(1)
        cosines = self._unit_vectors @ self._unit_vectors[row] if self.uses_embeddings else None
        first = shared if cosines is None else cosines
        # Only what may be among the first k, besides the item itself, is sorted.
        most = min(k + 1, len(first))
        bound = np.partition(first, len(first) - most)[len(first) - most]
        rows = np.flatnonzero(first >= bound)
        rows = rows[np.lexsort((-shared[rows], -first[rows]))]
        rows = rows[rows != row][:k]
        return rows, None if cosines is None else cosines[rows], shared[rows].astype(np.int64)

    @cached_property
    def _unit_vectors(self) -> npt.NDArray[np.float32]:
        """(N, d) embeddings of length 1."""
        assert self._path is not None
        vectors = VectorFile(self._path)
        if len(vectors) != len(self._codes):
            raise InputError(
                f"holds embeddings of {len(vectors):,} items, and the catalogue has {len(self._codes):,}",
                where=str(self._path),
                remedy="run 'gti build-ids' again with --force",
            )
        unit = np.empty(vectors.shape, dtype=np.float32)
        for start in range(0, len(vectors), _BLOCK_ROWS):
            block = vectors[start : start + _BLOCK_ROWS]
            lengths = np.linalg.norm(block, axis=1, keepdims=True)
            unit[start : start + _BLOCK_ROWS] = block / np.where(lengths > 0, lengths, 1)
        return unit
