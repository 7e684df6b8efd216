"""The baseline `item-knn`: items that occur near each other in users' sequences, as sparse matrices.

It only counts, and yet it beats published sequential recommenders on several public data sets. So it is tuned like a
competitor (`gti_cli.baselines.item_knn_tuning`), and the untuned form is reported beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli.baselines.base import Candidates, train_counts, user_parts

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Neighbourhood:
    """The settings of `ItemKNN`. The defaults are untuned.

    Attributes:
        window: Items at most this many steps apart in a sequence are neighbours.
        falloff: A pair that is d steps apart weighs d ** -falloff.
        backwards: Weight of a neighbour that came before the item, relative to one that came after it.
        last: Number of last items of a history whose neighbours are scored.
        decay: Factor on the weight for each step back in the history.
        normalisation: Similarities are divided by both items' training counts to this power; 0.5 is the cosine.
        shrinkage: Added to these counts, so that pairs of rare items count for less.
    """

    window: int = 5
    falloff: float = 1.0
    backwards: float = 0.5
    last: int = 5
    decay: float = 0.7
    normalisation: float = 0.5
    shrinkage: float = 0.0


class ItemKNN:
    """Scores items by their normalised co-occurrence with the last items of a history.

    The score of an item is the sum of its similarities to these items, and each step back in the history weighs less.
    Items without any such neighbour are not recommended.

    Attributes:
        name: Name in tables.
        settings: Settings of the count.
        scale: (N,) factor of each item, by which pairs were normalised.
        similarity: (N, N); the row is the item of the history, the column the item that is scored.
    """

    def __init__(
        self,
        train: Mapping[str, list[str]],
        row_of: Mapping[str, int],
        settings: Neighbourhood | None = None,
        name: str = "item-knn (untuned)",
    ) -> None:
        """Count neighbours in the training sequences.

        Args:
            train: Items of each user, in time order.
            row_of: Catalogue row of each item id.
            settings: Settings of the count; None: the untuned defaults.
            name: Name of the baseline in tables.
        """
        self.name = name
        self.settings = settings or Neighbourhood()
        rows = np.asarray([row_of[item] for items in train.values() for item in items], dtype=np.int64)
        users = np.repeat(np.arange(len(train)), [len(items) for items in train.values()])
        counts = train_counts(train, row_of)
        self.scale: Floats = np.maximum(counts + self.settings.shrinkage, 1) ** -self.settings.normalisation
        self.similarity = _similarity(rows, users, self.scale, self.settings)

    @classmethod
    def of_similarity(
        cls, settings: Neighbourhood, scale: Floats, similarity: sparse.csr_matrix, name: str = "item-knn"
    ) -> ItemKNN:
        """The baseline of similarities that were counted before; see the attributes."""
        baseline = cls({}, {}, settings, name)
        baseline.scale, baseline.similarity = scale, similarity
        return baseline

    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) scores after U histories of catalogue rows; -inf for an item without a neighbour."""
        scores = self.sparse_scores(histories).toarray()
        return np.where(scores > 0, scores, -np.inf)

    def candidate_scores(self, histories: Sequence[Sequence[int]], candidates: Candidates) -> Floats:
        """(M,) scores of the candidates, from a few users' sparse scores at a time."""
        parts = [
            np.asarray(self.sparse_scores(part)[of_part.owners(), of_part.rows]).reshape(-1)
            for part, of_part in user_parts(histories, candidates)
        ]
        scores = np.concatenate(parts) if parts else np.zeros(0)
        return np.where(scores > 0, scores, -np.inf)

    def sparse_scores(self, histories: Sequence[Sequence[int]]) -> sparse.csr_matrix:
        """(U, N) `scores` as a sparse matrix: items without a neighbour have no entry."""
        recent = [list(history[-self.settings.last :])[::-1] for history in histories]
        owners = np.repeat(np.arange(len(recent)), [len(rows) for rows in recent])
        weights = np.concatenate([self.settings.decay ** np.arange(len(rows)) for rows in recent])
        shape = (len(recent), self.similarity.shape[0])
        # (U, N) weight of each item of the history. An item that occurs twice gets the sum of both weights.
        history_weights = sparse.csr_matrix((weights, (owners, list(itertools.chain(*recent)))), shape=shape)
        return history_weights @ self.similarity


def count_pairs(
    rows: npt.NDArray[np.int64], users: npt.NDArray[np.int64], size: int, settings: Neighbourhood
) -> sparse.csr_matrix:
    """Weights of all pairs of neighbours in users' sequences.

    Args:
        rows: (T,) number of each item of all sequences, one sequence after the other.
        users: (T,) number of the user whose sequence it is.
        size: Number of items, N.
        settings: Settings of the count.

    Returns:
        (N, N) matrix; the row is the item of the history, the column the item that is scored.
    """
    firsts, laters, weights = [], [], []
    longest = int(np.unique(users, return_counts=True)[1].max()) - 1 if len(users) else 0
    for distance in range(1, min(settings.window, longest) + 1):
        # All pairs at this distance at once; pairs that reach from one user into the next are dropped.
        is_same_user = users[distance:] == users[:-distance]
        firsts.append(rows[:-distance][is_same_user])
        laters.append(rows[distance:][is_same_user])
        weights.append(np.full(len(firsts[-1]), float(distance) ** -settings.falloff))
    if not firsts:
        return sparse.csr_matrix((size, size))
    pairs = (np.concatenate(firsts), np.concatenate(laters))
    counted = sparse.csr_matrix((np.concatenate(weights), pairs), shape=(size, size))
    return counted + settings.backwards * counted.T if settings.backwards else counted


def _similarity(
    rows: npt.NDArray[np.int64], users: npt.NDArray[np.int64], scale: Floats, settings: Neighbourhood
) -> sparse.csr_matrix:
    """(N, N) `count_pairs`, multiplied by the factors of both items, ``scale``, (N,)."""
    factors = sparse.diags(scale)
    # The diagonal stays: where users come back to an item, an item is its own neighbour.
    return (factors @ count_pairs(rows, users, len(scale), settings) @ factors).tocsr()
