"""Block structure of cosines: are rows of one group more alike than rows of others, and in what order to show them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gti_cli.geometry.similarity import unit_rows

Array = npt.NDArray[np.floating[Any]]
_SMALL = 24


class BlockCosines(NamedTuple):
    """Mean cosine of pairs ``within`` a group and ``between`` groups; NaN where there are no such pairs."""

    within: float
    between: float

    @property
    def contrast(self) -> float:
        """``within - between``: 0 without block structure, at most 2."""
        return self.within - self.between


def block_cosines(rows: Array, groups: npt.NDArray[np.integer[Any]]) -> BlockCosines:
    """Mean cosine within and between ``groups`` (n,) of ``rows`` (n, d): exact, without the n x n matrix."""
    units = unit_rows(rows)
    if len(groups) != len(units):
        raise ValueError(f"one group for each row: {len(groups)} for {len(units)}")
    _, index = np.unique(groups, return_inverse=True)
    sizes = np.bincount(index).astype(np.float64)
    starts = np.concatenate([[0], np.cumsum(sizes[:-1])]).astype(np.int64)
    sums = np.add.reduceat(units[np.argsort(index, kind="stable")], starts, axis=0)
    own = float(np.sum(units**2))
    inside = float(np.sum(sums**2)) - own
    everything = float(np.sum(units.sum(axis=0) ** 2)) - own
    pairs_inside = float(np.sum(sizes * (sizes - 1)))
    pairs_between = len(units) * (len(units) - 1) - pairs_inside
    return BlockCosines(
        inside / pairs_inside if pairs_inside else float("nan"),
        (everything - inside) / pairs_between if pairs_between else float("nan"),
    )


def direction_order(rows: Array) -> npt.NDArray[np.int64]:
    """An order (n,) of ``rows`` (n, d) that puts alike rows side by side.

    Rows are split by the sign of their projection on the principal direction of the centred set, and so on within each
    half (Boley, "Principal direction divisive partitioning", 1998); O(n d log n), the same order on every run.
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
            order += part.tolist()  # equal rows stay as they are
            continue
        # The half that resembles what came before goes first, so that neighbouring blocks are alike.
        if order and units[high].mean(axis=0) @ units[order[-1]] > units[low].mean(axis=0) @ units[order[-1]]:
            low, high = high, low
        waiting += [high, low]
    return np.asarray(order, dtype=np.int64)


def _principal(centred: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The first right singular vector, by power iteration; its largest entry is positive."""
    start = int(np.argmax(np.einsum("ij,ij->i", centred, centred)))
    vector = centred[start].copy()
    if len(centred) <= _SMALL:  # most of the sets that a division ends in; exact, and faster than iterating
        vector = np.asarray(np.linalg.eigh(centred @ centred.T)[1][:, -1] @ centred)
        return np.asarray(vector if vector[np.argmax(np.abs(vector))] > 0 else -vector)
    for _ in range(30):
        vector = np.asarray(centred.T @ (centred @ vector))
        norm = float(np.linalg.norm(vector))
        if norm == 0:
            return vector
        vector /= norm
    return np.asarray(vector if vector[np.argmax(np.abs(vector))] > 0 else -vector)
