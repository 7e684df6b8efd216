"""Nearest neighbours by cosine among rows that come block by block (a vocabulary need not fit in memory)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Neighbours:
    """The k nearest of each of n rows, nearest first.

    Attributes:
        ids: (n, k) int64, as the blocks called them. cosines: (n, k) float64, falling along a row.
    """

    ids: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float64]


def nearest(queries: Array, blocks: Iterable[tuple[npt.NDArray[np.int64], Array]], k: int = 1) -> Neighbours:
    """Find the ``k`` rows of ``blocks`` with the highest cosine to each of ``queries`` (n, d).

    Args:
        queries: (n, d).
        blocks: pairs of ids (m,), rising, and rows (m, d); any number of them, any sizes.
        k: how many neighbours; fewer come back where the blocks hold fewer rows.

    Cosines are compared in float32 (good to about 1e-6); equal cosines go to the smaller id. A row of zeros has cosine
    0 with everything.

    Raises:
        ValueError: no block, other widths, k < 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    units = _units(queries)
    ids = np.empty((len(units), 0), dtype=np.int64)
    cosines = np.empty((len(units), 0), dtype=np.float32)
    for block_ids, rows in blocks:
        if len(block_ids) == 0:
            continue
        with np.errstate(
            invalid="ignore"
        ):  # some BLAS raise the flag for lanes that they only pad; the rows are finite
            found = units @ _units(rows).T
        ids, cosines = _merge(ids, cosines, np.asarray(block_ids, dtype=np.int64), found, k)
    if ids.shape[1] == 0:
        raise ValueError("there are no rows to search")
    return Neighbours(ids, np.clip(cosines.astype(np.float64), -1.0, 1.0))


def _units(rows: Array) -> npt.NDArray[np.float32]:
    """Unit rows in float32: half the time and memory of `similarity.unit_rows`, and enough to compare cosines."""
    largest = np.abs(rows).max(axis=1, keepdims=True).astype(np.float32)
    if not np.isfinite(largest).all():
        raise ValueError("the rows hold NaN or infinity")
    # A power of two near the largest entry: dividing by it is exact, and squares neither overflow nor vanish.
    scaled = np.ldexp(rows.astype(np.float32, copy=False), -np.frexp(largest)[1])
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(np.divide(scaled, norms, out=np.zeros_like(scaled), where=norms > 0))


def _merge(
    ids: npt.NDArray[np.int64],
    cosines: npt.NDArray[np.float32],
    block_ids: npt.NDArray[np.int64],
    found: npt.NDArray[np.float32],
    k: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The best k of what was kept and of one block's cosines (n, m)."""
    if k == 1:
        # The first of equal ones is that with the smaller id, as ids rise within a block.
        best = found.argmax(axis=1)[:, None]
        new_ids, new_cosines = block_ids[best], np.take_along_axis(found, best, axis=1)
    elif found.shape[1] > 4 * k:
        # Partition first, sort the few that are left: a full sort of every block would cost more than the product.
        # Everything that ties with the k-th stays in, so that the smaller id wins whatever the partition's order.
        edge = -np.partition(-found, k - 1, axis=1)[:, k - 1]
        width = int((found >= edge[:, None]).sum(axis=1).max())
        best = np.argpartition(-found, min(width, found.shape[1] - 1), axis=1)[:, :width]
        new_ids, new_cosines = block_ids[best], np.take_along_axis(found, best, axis=1)
    else:
        new_ids, new_cosines = np.broadcast_to(block_ids, found.shape), found
    all_ids, all_cosines = np.hstack([ids, new_ids]), np.hstack([cosines, new_cosines])
    order = np.lexsort((all_ids, -all_cosines), axis=1)[:, :k]
    return np.take_along_axis(all_ids, order, axis=1), np.take_along_axis(all_cosines, order, axis=1)
