"""The prior `item-knn`: an item's mass is how often, and how near, it occurred beside the last items of a history.

The masses are the scores of the baseline of that name (`gti_cli.baselines.item_knn`), with its tuned settings. In
training they would tell the answer: the user whose next item is to be predicted is among those who were counted. So
there each user's own pairs are subtracted first (leave-one-out).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli.baselines.item_knn import ItemKNN, Neighbourhood, count_pairs
from gti_cli.priors.masses import Targets

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Where no more than this share of a mass is left after the user's own pairs were subtracted, nobody else has counted
# it, and the rest is rounding: similarities are stored in float32, which rounds by 6e-8.
_ROUNDING = 1e-6


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
        weights = self._history_weights([Targets(history, (len(history),)) for history in histories])
        return self._as_rows(weights, len(histories)) @ self.similarity

    def masses_without_own(self, parts: Sequence[Targets], sequences: Sequence[Sequence[int]]) -> sparse.csr_matrix:
        """Masses behind the histories of targets, as if each target's user had not been counted.

        Items are still normalised by the counts of everybody.

        Args:
            parts: The targets. Items that do not occur in the user's sequence were not counted with the user.
            sequences: Catalogue rows of each user who was counted, oldest first.

        Returns:
            (targets, N) masses, none negative; the targets of one part after those of the part before.
        """
        weights = self._history_weights(parts)
        masses = self._as_rows(weights, sum(len(part.places) for part in parts)) @ self.similarity
        masses = masses.tocsc().tocsr()  # sorts the entries of each row in linear time
        targets = np.repeat(np.arange(masses.shape[0], dtype=np.int64), np.diff(masses.indptr))
        own_targets, own_items, own = self._own_masses(weights, parts, sequences)
        # Every pair of a user is among those that were counted, so each of its masses has an entry.
        width = masses.shape[1]
        places = np.searchsorted(targets * width + masses.indices, own_targets * width + own_items)
        remaining = masses.data[places] - own
        masses.data[places] = np.where(remaining > _ROUNDING * masses.data[places], remaining, 0.0)
        return masses

    def _history_weights(self, parts: Sequence[Targets]) -> tuple[Ints, Ints, Floats]:
        """Weight of each of the last items before each target; an item that occurs twice has two entries.

        Args:
            parts: The targets.

        Returns:
            Three arrays (n,): number of the target, catalogue row of the item, and weight.
        """
        items = np.fromiter(chain.from_iterable(part.items for part in parts), dtype=np.int64)
        first = np.cumsum([0, *(len(part.items) for part in parts)], dtype=np.int64)[:-1]
        first = np.repeat(first, [len(part.places) for part in parts])
        end = first + np.fromiter(chain.from_iterable(part.places for part in parts), dtype=np.int64)
        pieces = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))]
        for back in range(self.settings.last):
            targets = np.flatnonzero(end - back > first)
            weights = np.full(len(targets), float(self.settings.decay) ** back)
            pieces.append((targets, items[end[targets] - 1 - back], weights))
        targets, rows, weights = (np.concatenate(column) for column in zip(*pieces, strict=True))
        return targets, rows, weights

    def _as_rows(self, weights: tuple[Ints, Ints, Floats], count: int) -> sparse.csr_matrix:
        """(count, N) matrix of the weights of `_history_weights`."""
        targets, rows, values = weights
        return sparse.csr_matrix((values, (targets, rows)), shape=(count, len(self.scale)))

    def _own_masses(
        self, weights: tuple[Ints, Ints, Floats], parts: Sequence[Targets], sequences: Sequence[Sequence[int]]
    ) -> tuple[Ints, Ints, Floats]:
        """What each user's own pairs add to the masses behind the user's histories.

        Args:
            weights: Weights of the histories, from `_history_weights`.
            parts: The targets.
            sequences: Catalogue rows of each user.

        Returns:
            Three arrays (n,): number of the target, catalogue row of the item, and mass. No pair of target and item
            occurs twice.
        """
        of_target = np.repeat([part.user for part in parts], [len(part.places) for part in parts]).astype(np.int64)
        users = np.unique(of_target[of_target >= 0])
        width = len(self.scale)
        rows = np.fromiter(chain.from_iterable(sequences[user] for user in users), dtype=np.int64)
        owners = np.repeat(users, [len(sequences[user]) for user in users])
        # A column for each different pair of user and item: so the users of a batch are one sparse product.
        keys, columns = np.unique(owners * width + rows, return_inverse=True)
        own = count_pairs(columns.reshape(-1), owners, len(keys), self.settings)
        factors = sparse.diags(self.scale[keys % width])
        targets, items, values = weights
        wanted = of_target[targets] * width + items
        # An item of the history that is none of the user's training items, such as an earlier validation item, was not
        # counted with the user: nothing is to be subtracted.
        counted = (of_target[targets] >= 0) & np.isin(wanted, keys)
        targets, values = targets[counted], values[counted]
        places = np.searchsorted(keys, wanted[counted])
        shape = (len(of_target), len(keys))
        masses = (sparse.csr_matrix((values, (targets, places)), shape=shape) @ (factors @ own @ factors)).tocoo()
        return masses.row.astype(np.int64), keys[masses.col] % width, masses.data


@dataclass(frozen=True)
class LeaveOneOut:
    """Masses for training: each target's user is left out of the counts.

    Attributes:
        prior: What was counted.
        sequences: Catalogue rows of each user who was counted, oldest first.
    """

    prior: ItemKnnPrior
    sequences: Sequence[Sequence[int]]

    def masses_of_targets(self, parts: Sequence[Targets]) -> sparse.csr_matrix:
        """(targets, N) masses; the targets of one part after those of the part before."""
        return self.prior.masses_without_own(parts, self.sequences)
