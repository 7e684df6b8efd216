"""The best columns of rows of scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_BLOCKS_FOR_EACH = 8  # blocks into which a row is divided, for each of the columns that are wanted


def top_columns(scores: Floats, k: int) -> Ints:
    """Find the columns of the largest finite scores of each row.

    Args:
        scores: (U, N).
        k: How many to find.

    Returns:
        (U, k) columns, best first, with -1 after the last; equal scores in the order of columns.
    """
    most = min(k, scores.shape[1])
    columns = np.full((len(scores), k), -1, dtype=np.int64)
    for row, (values, bound) in enumerate(zip(scores, _bounds(scores, most), strict=True)):
        above = np.flatnonzero(values > bound)
        # Fewer than wanted are above a bound that enough scores reach: those at the bound fill the list.
        candidates = (
            above if len(above) >= most else np.append(above, np.flatnonzero(values == bound)[: most - len(above)])
        )
        best = candidates[np.argsort(-values[candidates], kind="stable")][:k]
        best = best[np.isfinite(values[best])]
        columns[row, : len(best)] = best
    return columns


def _bounds(scores: Floats, most: int) -> Floats:
    """(U,) a score for each row that at least ``most`` of its scores reach, and as a rule not many more.

    It is found among the maxima of blocks of columns: a row of a million scores is passed over once, not partitioned.
    """
    users, items = scores.shape
    width = max(items // (_BLOCKS_FOR_EACH * most), 1)
    count = items // width
    maxima = scores[:, : count * width].reshape(users, count, width).max(axis=2)
    bounds: Floats = np.partition(maxima, count - most, axis=1)[:, count - most]
    return bounds
