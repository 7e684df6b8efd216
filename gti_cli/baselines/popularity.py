"""The baseline `popularity`: the same list for everybody, the items most frequent in training first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gti_cli.baselines.base import Candidates, train_counts
from gti_cli.baselines.ranking.common_scores import CommonOrder
from gti_cli.metrics.ranking import TargetRanks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Popularity:
    """Scores items by their number of training interactions; items with none are not recommended."""

    name = "popularity"

    def __init__(self, train: Mapping[str, list[str]], row_of: Mapping[str, int]) -> None:
        self.counts = train_counts(train, row_of)
        self._scores = np.where(self.counts > 0, self.counts, -np.inf)

    @classmethod
    def of_counts(cls, counts: Floats) -> Popularity:
        """The baseline of (N,) counts of training interactions."""
        baseline = cls({}, {})
        baseline.counts, baseline._scores = counts, np.where(counts > 0, counts, -np.inf)
        return baseline

    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) scores, the same after every history."""
        return np.tile(self._scores, (len(histories), 1))

    def candidate_scores(self, histories: Sequence[Sequence[int]], candidates: Candidates) -> Floats:
        """(M,) scores of the candidates."""
        scores: Floats = self._scores[candidates.rows]
        return scores

    def target_ranks(
        self, histories: Sequence[Sequence[int]], targets: Sequence[int], *, filter_seen: bool
    ) -> TargetRanks:
        """See `gti_cli.baselines.base.RanksItself`."""
        return self._order.target_ranks(histories, targets, filter_seen=filter_seen)

    def best_items(
        self, histories: Sequence[Sequence[int]], *, filter_seen: bool, k: int, allowed: Mask | None = None
    ) -> Ints:
        """See `gti_cli.baselines.base.RanksItself`."""
        order = self._order if allowed is None else CommonOrder(np.where(allowed, self._scores, -np.inf))
        return order.lists(histories, filter_seen=filter_seen, k=k)

    @cached_property
    def _order(self) -> CommonOrder:
        return CommonOrder(self._scores)
