"""Items ranked by scores that are the same for every user: sorted once, whatever the number of users."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gti_cli.metrics.ranking import TargetRanks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class CommonOrder:
    """The items of a catalogue by scores that do not depend on the user."""

    def __init__(self, scores: Floats) -> None:
        """Sort the items.

        Args:
            scores: (N,) score of each item; -inf for an item not recommended.
        """
        order = np.argsort(-scores, kind="stable")
        self._scores, self._best = scores, order[: int(np.isfinite(scores).sum())]
        self._rising = scores[self._best[::-1]]

    def lists(self, histories: Sequence[Sequence[int]], *, filter_seen: bool, k: int) -> Ints:
        """(U, k) catalogue rows of the best items, with -1 after the last; equal scores in the catalogue's order.

        Args:
            histories: Catalogue rows of each user's history.
            filter_seen: Leave out the items of the user's own history.
            k: Length of the lists.
        """
        lists = np.full((len(histories), k), -1, dtype=np.int64)
        if not filter_seen:
            lists[:, : len(self._best)] = self._best[:k]
            return lists
        for user, rows in enumerate(histories):
            best = self._best[: k + len(rows)]
            best = best[~np.isin(best, rows)][:k]
            lists[user, : len(best)] = best
        return lists

    def target_ranks(
        self, histories: Sequence[Sequence[int]], targets: Sequence[int], *, filter_seen: bool
    ) -> TargetRanks:
        """The rank of each target, as `gti_cli.baselines.base.target_ranks` finds it in a row of scores for each user.

        Args:
            histories: Catalogue rows of each user's history.
            targets: (U,) catalogue rows.
            filter_seen: Do not recommend the items of a user's own history.
        """
        own = self._scores[np.asarray(targets, dtype=np.int64)]
        is_recommended = np.isfinite(own)
        first, end = (np.searchsorted(self._rising, own, side=side) for side in ("left", "right"))
        ahead, ties = len(self._rising) - end, end - first
        if filter_seen:
            for user, (rows, target) in enumerate(zip(histories, targets, strict=True)):
                seen = self._scores[np.unique(np.asarray(rows, dtype=np.int64))]
                ahead[user] -= (seen > own[user]).sum()
                ties[user] -= (seen == own[user]).sum()
                is_recommended[user] &= target not in rows
        return TargetRanks(np.where(is_recommended, ahead, -1), np.where(is_recommended, ties, 1))
