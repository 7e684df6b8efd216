"""The prior `item-knn`: an item's mass is how often, and how near, it occurred beside the last items of a history.

The masses are the scores of the baseline of that name (`gti_cli.baselines.item_knn`), with its tuned settings. In
training they would tell the answer: the user whose next item is to be predicted is among those who were counted. So
there each user's own pairs are subtracted first (leave-one-out).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli.baselines.item_knn import ItemKNN, Neighbourhood

Floats = npt.NDArray[np.float64]

# Masses below this share of a history's largest are rounding that subtraction has left behind.
_ROUNDING = 1e-9


class ItemKnnPrior:
    """Masses of items behind histories.

    Attributes:
        settings: Settings of the count.
        similarity: (N, N); the row is the item of the history, the column the item that gets mass.
        scale: (N,) factor of each item, by which pairs were normalised.
    """

    name = "item-knn"

    def __init__(self, settings: Neighbourhood, similarity: sparse.csr_matrix, scale: Floats) -> None:
        """Take what `ItemKNN` has counted; see the attributes."""
        self.settings, self.similarity, self.scale = settings, similarity, scale

    @classmethod
    def of(cls, baseline: ItemKNN) -> ItemKnnPrior:
        """The prior that a baseline's counts give."""
        return cls(baseline.settings, baseline.similarity, baseline.scale)

    def masses(self, histories: Sequence[Sequence[int]]) -> sparse.csr_matrix:
        """(U, N) masses of items behind U histories of catalogue rows, oldest first."""
        weights = [self._history_weights(history, len(history)) for history in histories]
        return self._as_rows(weights) @ self.similarity

    def masses_without_own(self, items: Sequence[int], places: Sequence[int]) -> sparse.csr_matrix:
        """Masses behind parts of one user's sequence, as if this user had not been counted.

        Args:
            items: Catalogue rows of the user's sequence, oldest first.
            places: Places of the targets: the history of each is what stands before it.

        Returns:
            (targets, N) masses, none negative.
        """
        weights = [self._history_weights(items, place) for place in places]
        masses = (self._as_rows(weights) @ self.similarity).tocsr()
        distinct, own = self._own_pairs(items)
        number = {row: n for n, row in enumerate(distinct)}
        of_own = np.zeros((len(places), len(distinct)))
        for target, of_history in enumerate(weights):
            for row, weight in of_history.items():
                of_own[target] += weight * own[number[row]]
        users, columns = of_own.nonzero()
        values = of_own[users, columns], (users, np.asarray(distinct)[columns])
        subtracted = sparse.csr_matrix(values, shape=masses.shape)
        remaining = (masses - subtracted).tocsr()
        most = np.repeat(masses.max(axis=1).toarray().ravel(), np.diff(remaining.indptr))
        remaining.data[remaining.data <= _ROUNDING * most] = 0.0
        remaining.eliminate_zeros()
        return remaining

    def _history_weights(self, items: Sequence[int], place: int) -> dict[int, float]:
        """Weight of each of the last items before a place; an item that occurs twice gets the sum of both."""
        weights: dict[int, float] = {}
        for back, row in enumerate(reversed(items[max(place - self.settings.last, 0) : place])):
            weights[row] = weights.get(row, 0.0) + self.settings.decay**back
        return weights

    def _as_rows(self, weights: Sequence[dict[int, float]]) -> sparse.csr_matrix:
        """(U, N) sparse matrix of weights."""
        owners = np.repeat(np.arange(len(weights)), [len(of_history) for of_history in weights])
        columns = np.fromiter((row for of_history in weights for row in of_history), dtype=np.int64)
        values = np.fromiter((value for of_history in weights for value in of_history.values()), dtype=np.float64)
        return sparse.csr_matrix((values, (owners, columns)), shape=(len(weights), len(self.scale)))

    def _own_pairs(self, items: Sequence[int]) -> tuple[list[int], Floats]:
        """The user's own part of the similarities.

        Args:
            items: Catalogue rows of the user's sequence.

        Returns:
            The m distinct rows, and the (m, m) part that this user's pairs have in the similarities among them.
        """
        distinct, numbers = np.unique(np.asarray(items, dtype=np.int64), return_inverse=True)
        own = np.zeros((len(distinct), len(distinct)))
        for distance in range(1, min(self.settings.window, len(items) - 1) + 1):
            weight = float(distance) ** -self.settings.falloff
            first, later = numbers[:-distance], numbers[distance:]
            np.add.at(own, (first, later), weight)
            np.add.at(own, (later, first), weight * self.settings.backwards)
        scale = self.scale[distinct]
        return distinct.tolist(), own * scale[:, None] * scale
