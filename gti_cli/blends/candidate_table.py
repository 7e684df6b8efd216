"""Candidates of many users with the scores of several recommenders, as flat arrays.

The candidates of all users stand one after the other; ``offsets`` says where each user's begin. So arithmetic over
millions of candidates needs no loop over users.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gti_cli.metrics.ranking import TargetRanks
from gti_cli.tables.arrays.ragged import offsets_of, places_from

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """The candidates of U users.

    Attributes:
        offsets: (U + 1,) the candidates of user u are the entries from ``offsets[u]`` to ``offsets[u + 1]``.
        rows: (n,) catalogue row of each candidate; a user's candidates are distinct and ascend.
    """

    offsets: Ints
    rows: Ints

    @cached_property
    def owners(self) -> Ints:
        """(n,) user of each candidate."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def places_of(self, rows: Ints) -> Ints:
        """Find one item of each user among the user's candidates.

        Args:
            rows: (U,) catalogue rows.

        Returns:
            (U,) entries; -1 where the item is no candidate.
        """
        is_item = self.rows == rows[self.owners]
        places = np.full(len(self.offsets) - 1, -1, dtype=np.int64)
        places[self.owners[is_item]] = np.flatnonzero(is_item)
        return places

    def of_users(self, users: Ints) -> tuple[Candidates, Ints]:
        """Take the candidates of some users.

        Args:
            users: Ascending numbers of the users.

        Returns:
            Their candidates, and the entries of ``rows`` that they were.
        """
        sizes = np.diff(self.offsets)[users]
        entries = places_from(self.offsets[users], sizes)
        return Candidates(offsets_of(sizes), self.rows[entries]), entries


def union(lists: list[Ints], histories: list[list[int]], *, filter_seen: bool) -> Candidates:
    """Join the lists of several recommenders.

    Args:
        lists: For each recommender (U, k) catalogue rows, with -1 after the last item; k may differ.
        histories: Catalogue rows of each of the U histories.
        filter_seen: Leave out the items of a user's own history.

    Returns:
        Every item that is in some list of the user.
    """
    users = len(histories)
    owners = np.concatenate([np.repeat(np.arange(users), rows.shape[1]) for rows in lists])
    rows = np.concatenate([rows.ravel() for rows in lists])
    pairs = np.unique(np.stack([owners, rows], axis=1)[rows >= 0], axis=0)
    if filter_seen and len(pairs):
        width = int(pairs[:, 1].max()) + 1
        seen_owners = np.repeat(np.arange(users), [len(items) for items in histories])
        seen_rows = np.fromiter((row for items in histories for row in items), dtype=np.int64)
        inside = seen_rows < width
        seen = seen_owners[inside] * width + seen_rows[inside]
        pairs = pairs[~np.isin(pairs[:, 0] * width + pairs[:, 1], seen)]
    counts = np.bincount(pairs[:, 0], minlength=users)
    return Candidates(offsets_of(counts), pairs[:, 1].astype(np.int64))


def sum_by_user(values: Floats, offsets: Ints) -> Floats:
    """(U,) sums of each user's entries of ``values`` (n,); 0 for a user without candidates."""
    sums = np.zeros(len(offsets) - 1)
    filled = np.diff(offsets) > 0
    # `reduceat` adds each user's own entries alone, so that one user's rounding does not reach another user.
    if filled.any():
        sums[filled] = np.add.reduceat(values, offsets[:-1][filled])
    return sums


def max_by_user(values: Floats, offsets: Ints) -> Floats:
    """(U,) largest of each user's entries of ``values`` (n,); -inf for a user without candidates."""
    largest = np.full(len(offsets) - 1, -np.inf)
    filled = np.diff(offsets) > 0
    if filled.any():
        largest[filled] = np.maximum.reduceat(values, offsets[:-1][filled])
    return largest


def rank_targets(scores: Floats, candidates: Candidates, places: Ints) -> TargetRanks:
    """Rank each user's target among the user's candidates.

    Args:
        scores: (n,) score of each candidate.
        candidates: The candidates of U users.
        places: (U,) entry of the target, from `Candidates.places_of`.

    Returns:
        The ranks. A target that is no candidate is not recommended.
    """
    is_candidate = places >= 0
    own = np.where(is_candidate, scores[places] if len(scores) else 0.0, np.inf)[candidates.owners]
    ahead = np.bincount(candidates.owners[scores > own], minlength=len(places))
    ties = np.bincount(candidates.owners[scores == own], minlength=len(places))
    return TargetRanks(np.where(is_candidate, ahead, -1), np.where(is_candidate, ties, 1))


def best_of_each(scores: Floats, candidates: Candidates, k: int) -> tuple[Ints, Floats]:
    """Find the best candidates of each user.

    Args:
        scores: (n,) score of each candidate.
        candidates: The candidates of U users.
        k: Length of the lists.

    Returns:
        (U, k) catalogue rows and scores, best first; of equal scores the lower row comes first. After the last
        candidate stand -1 and -inf.
    """
    users = len(candidates.offsets) - 1
    order = np.lexsort((candidates.rows, -scores, candidates.owners))
    ranks = np.arange(len(order)) - np.repeat(candidates.offsets[:-1], np.diff(candidates.offsets))
    owners, kept = candidates.owners, ranks < k
    lists = np.full((users, k), -1, dtype=np.int64)
    values = np.full((users, k), -np.inf)
    lists[owners[kept], ranks[kept]] = candidates.rows[order[kept]]
    values[owners[kept], ranks[kept]] = scores[order[kept]]
    return lists, values
