"""A tree of code prefixes that counts the items below each, to find free tuples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.semantic_ids.quantizers import residual_codes

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]


class CodeTree:
    """Counts the items below each prefix, the empty one included. No two items may share a tuple.

    Args:
        sizes: The number of codes of each of the L levels.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = list(sizes)
        # For each depth d: how many tuples lie below any prefix of d codes, and how many items below each prefix.
        self._capacity = [math.prod(sizes[depth:]) for depth in range(len(sizes) + 1)]
        self._below: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(len(sizes) + 1)]

    def add(self, codes: npt.NDArray[np.integer[Any]]) -> None:
        """Count one item's tuple (L,)."""
        path = tuple(int(code) for code in codes)
        for depth in range(len(path) + 1):
            self._below[depth][path[:depth]] += 1

    def add_all(self, codes: Codes) -> None:
        """Count all tuples of (N, L)."""
        for depth in range(codes.shape[1] + 1):
            self._below[depth].update(map(tuple, codes[:, :depth].tolist()))

    def has_room(self, prefix: tuple[int, ...]) -> bool:
        """Whether a free tuple lies below ``prefix``."""
        return self._below[len(prefix)][prefix] < self._capacity[len(prefix)]

    def nearest_free(self, vector: Vectors, codes: npt.NDArray[np.int32], codebooks: Sequence[Vectors]) -> Codes:
        """Find a free tuple near ``vector``: from the deepest ancestor of ``codes`` with room, greedily down.

        Each step down takes the code nearest to the residual among those with room below. There is always one, because
        a prefix has room exactly when one of its children has.

        Args:
            vector: (d,).
            codes: (L,) a tuple that is not free; another one must be.
            codebooks: L arrays (K_l, d).

        Returns:
            (L,) int32; it is not counted yet.
        """
        path = [int(code) for code in codes]
        depth = len(path) - 1
        while not self.has_room(tuple(path[:depth])):
            depth -= 1
        path = path[:depth]
        residual = vector - sum((codebooks[level][code] for level, code in enumerate(path)), np.zeros_like(vector))
        for level in range(depth, len(self._sizes)):
            nearest = np.argsort(residual_codes.squared_distances(residual[None], codebooks[level])[0], kind="stable")
            code = next(int(code) for code in nearest if self.has_room((*path, int(code))))
            path.append(code)
            residual = residual - codebooks[level][code]
        return np.asarray(path, dtype=np.int32)
