"""Items ranked by sparse scores: of each row, only the items that have a score are looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli.metrics.ranking import TargetRanks
from gti_cli.tables.arrays.ragged import places_in_lists

Ints = npt.NDArray[np.int64]


def without_seen(scores: sparse.csr_matrix, histories: Sequence[Sequence[int]]) -> sparse.csr_matrix:
    """The scores with 0, which is below every other score, for the items of each user's own history.

    Args:
        scores: (U, N) scores above 0; an item without an entry is not recommended.
        histories: Catalogue rows of each user's history.
    """
    lengths = [len(history) for history in histories]
    cells = (np.repeat(np.arange(len(lengths)), lengths), np.concatenate(histories).astype(np.int64))
    seen = sparse.csr_matrix((np.ones(len(cells[0])), cells), shape=scores.shape)
    return (scores - scores.multiply(seen > 0)).tocsr()


def sparse_target_ranks(scores: sparse.csr_matrix, targets: Ints) -> TargetRanks:
    """Rank each target among the positive entries of its row, as `base.target_ranks` does with dense scores.

    Args:
        scores: (U, N) sparse scores; an item without an entry above 0 is not recommended.
        targets: (U,) catalogue rows.
    """
    values = scores.data
    owners = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    # Score of each user's target; 0 where it has no entry.
    own = np.zeros(scores.shape[0])
    is_target = scores.indices == targets[owners]
    own[owners[is_target]] = values[is_target]
    size = scores.shape[0]
    ahead = np.bincount(owners[values > own[owners]], minlength=size)
    ties = np.bincount(owners[(values == own[owners]) & (values > 0)], minlength=size)
    return TargetRanks(np.where(own > 0, ahead, -1), np.maximum(ties, 1))


def sparse_top_columns(scores: sparse.csr_matrix, k: int) -> Ints:
    """Find the columns of the largest positive entries of each row, as `top_columns` does with dense scores.

    Args:
        scores: (U, N).
        k: How many to find.

    Returns:
        (U, k) columns, best first, with -1 after the last; equal scores in the order of columns.
    """
    kept = scores.data > 0
    owners = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))[kept]
    columns, values = scores.indices[kept], scores.data[kept]
    order = np.lexsort((columns, -values, owners))
    counts = np.bincount(owners, minlength=scores.shape[0])
    place = places_in_lists(counts)
    is_listed = place < k
    lists = np.full((scores.shape[0], k), -1, dtype=np.int64)
    lists[owners[order][is_listed], place[is_listed]] = columns[order][is_listed]
    return lists
