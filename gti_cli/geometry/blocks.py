"""Block structure of cosines: means within and between groups of rows, and an order that puts similar rows together."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gti_cli.geometry.similarity import unit_rows

Array = npt.NDArray[np.floating[Any]]
_SMALL = 24  # up to this many rows, an eigendecomposition is faster than power iteration


class BlockCosines(NamedTuple):
    """Mean cosines of pairs of rows.

    Attributes:
        within: Mean cosine of pairs of the same group; NaN where there are none.
        between: Mean cosine of pairs of different groups; NaN where there are none.
    """

    within: float
    between: float

    @property
    def contrast(self) -> float:
        """``within - between``, which is 0 without block structure and at most 2."""
        return self.within - self.between


def block_cosines(rows: Array, groups: npt.NDArray[np.integer[Any]]) -> BlockCosines:
    """Mean cosine within and between groups of rows, exact, without the n x n matrix.

    Args:
        rows: (n, d).
        groups: (n,). The group of each row.

    Raises:
        ValueError: When there is not one group for each row.
    """
    units = unit_rows(rows)
    if len(groups) != len(units):
        raise ValueError(f"one group for each row: {len(groups)} for {len(units)}")
    _, index = np.unique(groups, return_inverse=True)
    sizes = np.bincount(index).astype(np.float64)
    starts = np.concatenate([[0], np.cumsum(sizes[:-1])]).astype(np.int64)
    # The sum of the cosines of all ordered pairs of a set, those of a row with itself included, is the squared norm of
    # the sum of its unit rows.
    sums = np.add.reduceat(units[np.argsort(index, kind="stable")], starts, axis=0)
    own = float(np.sum(units**2))
    within = float(np.sum(sums**2)) - own
    total = float(np.sum(units.sum(axis=0) ** 2)) - own
    pairs_within = float(np.sum(sizes * (sizes - 1)))
    pairs_between = len(units) * (len(units) - 1) - pairs_within
    return BlockCosines(
        within / pairs_within if pairs_within else float("nan"),
        (total - within) / pairs_between if pairs_between else float("nan"),
    )


def direction_order(rows: Array) -> npt.NDArray[np.int64]:
    """An order (n,) of ``rows`` (n, d) that puts similar rows side by side, the same on every run, in O(n d log n).

    The set is split in two by the sign of the rows' projections on its first principal direction, and each part again
    (Boley, "Principal direction divisive partitioning", Data Mining and Knowledge Discovery 2, 1998).
    """
    units = unit_rows(rows)
    order: list[int] = []
    waiting = [np.arange(len(units))]
    while waiting:
        part = waiting.pop()
        if len(part) <= 2:
            order += part.tolist()
            continue
        centred = units[part] - units[part].mean(axis=0)
        projection = centred @ _principal(centred)
        low, high = part[projection < 0], part[projection >= 0]
        if len(low) == 0 or len(high) == 0 or np.abs(projection).max() < 1e-12:
            order += part.tolist()  # equal rows keep their order
            continue
        # The part that is more similar to the last row in order comes first, so that adjacent blocks are similar.
        if order and units[high].mean(axis=0) @ units[order[-1]] > units[low].mean(axis=0) @ units[order[-1]]:
            low, high = high, low
        waiting += [high, low]  # a stack: low comes next
    return np.asarray(order, dtype=np.int64)


def _principal(centred: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The first right singular vector, by power iteration; its sign makes the largest entry positive."""
    start = int(np.argmax(np.einsum("ij,ij->i", centred, centred)))
    vector = centred[start].copy()
    if len(centred) <= _SMALL:
        vector = np.asarray(np.linalg.eigh(centred @ centred.T)[1][:, -1] @ centred)
        return np.asarray(vector if vector[np.argmax(np.abs(vector))] > 0 else -vector)
    for _ in range(30):
        vector = np.asarray(centred.T @ (centred @ vector))
        norm = float(np.linalg.norm(vector))
        if norm == 0:
            return vector
        vector /= norm
    return np.asarray(vector if vector[np.argmax(np.abs(vector))] > 0 else -vector)
