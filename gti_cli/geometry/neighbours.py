"""Exact nearest neighbours by cosine among rows that come in blocks, so that they need not fit in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Neighbours:
    """The k nearest neighbours of each of n rows, the nearest first.

    Attributes:
        ids: (n, k) int64. Ids of the neighbours, as the blocks name them.
        cosines: (n, k) float64. Their cosines, falling within a row.
    """

    ids: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float64]


def nearest(queries: Array, blocks: Iterable[tuple[npt.NDArray[np.int64], Array]], k: int = 1) -> Neighbours:
    """Find the rows with the highest cosine to each query.

    Cosines are compared in float32, which is accurate to about 1e-6. Of equal cosines that with the smaller id wins. A
    row of zeros has cosine 0 with every row.

    Args:
        queries: (n, d).
        blocks: Pairs of ids (m,), rising, and rows (m, d). Blocks may have different sizes.
        k: Number of neighbours. Fewer are returned where the blocks hold fewer rows.

    Raises:
        ValueError: When the blocks hold no rows, when widths differ, or when k < 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    units = _units(queries)
    ids = np.empty((len(units), 0), dtype=np.int64)
    cosines = np.empty((len(units), 0), dtype=np.float32)
    largest_id = -1
    for block_ids, rows in blocks:
        if len(block_ids) == 0:
            continue
        # Some BLAS libraries set the "invalid" flag for padding that they compute along; the rows themselves are
        # finite.
        with np.errstate(invalid="ignore"):
            block_cosines = units @ _units(rows).T
        block_ids = np.asarray(block_ids, dtype=np.int64)
        if k > 1 and ids.shape[1] == k and block_ids[0] > largest_id:
            _merge_better(ids, cosines, block_ids, block_cosines)
        else:
            ids, cosines = _merge(ids, cosines, block_ids, block_cosines, k)
        largest_id = max(largest_id, int(block_ids[-1]))
    if ids.shape[1] == 0:
        raise ValueError("there are no rows to search")
    return Neighbours(ids, np.clip(cosines.astype(np.float64), -1.0, 1.0))


def _units(rows: Array) -> npt.NDArray[np.float32]:
    """Unit rows in float32, which take half the time and memory of `similarity.unit_rows`."""
    largest = np.abs(rows).max(axis=1, keepdims=True).astype(np.float32)
    if not np.isfinite(largest).all():
        raise ValueError("the rows hold NaN or infinity")
    # Dividing by a power of two near the largest entry is exact. After it, squares neither overflow nor vanish.
    scaled = np.ldexp(rows.astype(np.float32, copy=False), -np.frexp(largest)[1])
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(np.divide(scaled, norms, out=np.zeros_like(scaled), where=norms > 0))


def _merge_better(
    ids: npt.NDArray[np.int64],
    cosines: npt.NDArray[np.float32],
    block_ids: npt.NDArray[np.int64],
    block_cosines: npt.NDArray[np.float32],
) -> None:
    """Put the rows of a block that are nearer than the k-th best so far into the best, in place.

    After a few blocks hardly any row is, so comparing costs much less than finding the best of the block. The ids of
    the block are larger than all before, so a row that is as near as the k-th best does not come in.

    Args:
        ids: (n, k) ids of the best so far.
        cosines: (n, k) their cosines, falling.
        block_ids: (m,) ids of the block, rising.
        block_cosines: (n, m) cosines of all queries with the block.
    """
    k = ids.shape[1]
    queries, columns = np.nonzero(block_cosines > cosines[:, -1:])
    if not len(queries):
        return
    changed, starts = np.unique(queries, return_index=True)
    owners = np.concatenate([np.repeat(changed, k), queries])
    all_ids = np.concatenate([ids[changed].reshape(-1), block_ids[columns]])
    all_cosines = np.concatenate([cosines[changed].reshape(-1), block_cosines[queries, columns]])
    order = np.lexsort((all_ids, -all_cosines, owners))
    # Of each changed query the first k; the others' numbers are before it: k and its new rows each.
    first = starts + np.arange(len(changed)) * k
    chosen = order[first[:, None] + np.arange(k)]
    ids[changed], cosines[changed] = all_ids[chosen], all_cosines[chosen]


def _merge(
    ids: npt.NDArray[np.int64],
    cosines: npt.NDArray[np.float32],
    block_ids: npt.NDArray[np.int64],
    block_cosines: npt.NDArray[np.float32],
    k: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The best k of those so far and of one block.

    Args:
        ids: (n, j) ids of the best so far, j <= k.
        cosines: (n, j) their cosines.
        block_ids: (m,) ids of the block, rising.
        block_cosines: (n, m) cosines of all queries with the block.
        k: Number of neighbours.
    """
    if k == 1:
        # argmax takes the first of equal cosines. That is the smaller id, because ids rise within a block.
        best = block_cosines.argmax(axis=1)[:, None]
        new_ids, new_cosines = block_ids[best], np.take_along_axis(block_cosines, best, axis=1)
    elif block_cosines.shape[1] > 4 * k:
        # Partition, then sort the few that are left: sorting the whole block would cost more than the matrix product.
        # All that tie with the k-th best stay in, so that the smaller id wins whatever order the partition leaves.
        edge = -np.partition(-block_cosines, k - 1, axis=1)[:, k - 1]
        width = int((block_cosines >= edge[:, None]).sum(axis=1).max())
        best = np.argpartition(-block_cosines, min(width, block_cosines.shape[1] - 1), axis=1)[:, :width]
        new_ids, new_cosines = block_ids[best], np.take_along_axis(block_cosines, best, axis=1)
    else:
        new_ids, new_cosines = np.broadcast_to(block_ids, block_cosines.shape), block_cosines
    all_ids, all_cosines = np.hstack([ids, new_ids]), np.hstack([cosines, new_cosines])
    order = np.lexsort((all_ids, -all_cosines), axis=1)[:, :k]
    return np.take_along_axis(all_ids, order, axis=1), np.take_along_axis(all_cosines, order, axis=1)
