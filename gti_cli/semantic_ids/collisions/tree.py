"""A tree of code prefixes that counts the items below each, to find free tuples."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.semantic_ids.quantizers import residual_codes

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int64]


class CodeTree:
    """Counts the items below each prefix. No two items may share a tuple.

    The tuples are sorted once, so that those below a prefix are one run of rows; a prefix is counted when somebody asks
    for it. So memory holds the tuples and the prefixes that were asked for, not every prefix of every item.

    Args:
        sizes: The number of codes of each of the L levels.
        codes: (N, L) tuples of the items that are counted from the start; None: there are none.
    """

    def __init__(self, sizes: Sequence[int], codes: Codes | None = None) -> None:
        self._sizes = list(sizes)
        # How many tuples lie below any prefix of 0 … L codes.
        self._capacity = [math.prod(sizes[depth:]) for depth in range(len(sizes) + 1)]
        codes = np.empty((0, len(sizes)), dtype=np.int32) if codes is None else codes
        # Sorted by the first code, then by the second, …; each level in one piece.
        self._sorted = np.take(codes.T, np.lexsort(codes.T[::-1]), axis=1)
        self._added = 0
        self._added_below: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)  # next codes of added items
        self._children: dict[tuple[int, ...], Counts] = {}

    def add(self, codes: npt.NDArray[np.integer[Any]]) -> None:
        """Count one item's tuple (L,)."""
        self._added += 1
        path = tuple(int(code) for code in codes)
        for depth in range(len(path)):
            self._added_below[path[:depth]].append(path[depth])
            counts = self._children.get(path[:depth])
            if counts is not None:
                counts[path[depth]] += 1

    def children(self, prefix: tuple[int, ...]) -> Counts:
        """How many items lie below each code that may follow ``prefix``: (K,)."""
        counts = self._children.get(prefix)
        if counts is None:
            start, stop = 0, self._sorted.shape[1]
            for level, code in enumerate(prefix):
                run, sought = self._sorted[level, start:stop], self._sorted.dtype.type(code)  # else the run is copied
                start, stop = start + int(run.searchsorted(sought)), start + int(run.searchsorted(sought, "right"))
            following = np.concatenate(
                [self._sorted[len(prefix), start:stop], np.asarray(self._added_below.get(prefix, ()), dtype=np.int32)]
            )
            counts = self._children[prefix] = np.bincount(following, minlength=self._sizes[len(prefix)])
        return counts

    def has_room(self, prefix: tuple[int, ...]) -> bool:
        """Whether a free tuple lies below ``prefix``."""
        below = self.children(prefix[:-1])[prefix[-1]] if prefix else self._sorted.shape[1] + self._added
        return int(below) < self._capacity[len(prefix)]

    def nearest_free(
        self,
        vector: Vectors,
        codes: npt.NDArray[np.int32],
        codebooks: Sequence[Vectors],
        norms: Sequence[Vectors] | None = None,
    ) -> Codes:
        """Find a free tuple near ``vector``: from the deepest ancestor of ``codes`` with room, greedily down.

        Each step down takes the code nearest to the residual among those with room below. There is always one, because
        a prefix has room exactly when one of its children has.

        Args:
            vector: (d,).
            codes: (L,) a tuple that is not free; another one must be.
            codebooks: L arrays (K_l, d).
            norms: L arrays (K_l,) of their squared norms; None: they are computed.

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
            of_level = None if norms is None else norms[level]
            distances = residual_codes.squared_distances(residual[None], codebooks[level], of_level)[0]
            nearest = np.argsort(distances, kind="stable")
            has_room = self.children(tuple(path)) < self._capacity[level + 1]
            code = int(nearest[has_room[nearest]][0])
            path.append(code)
            residual = residual - codebooks[level][code]
        return np.asarray(path, dtype=np.int32)
