"""The baseline `item-knn`: neighbours in sequences, as sparse matrices.

No learning but counting, and yet it is above published sequential recommenders on several public data sets, so it is
tuned (`gti_cli.evaluation.baselines.item_knn_tuning`) as a competitor would be, and reported untuned beside that.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli.evaluation.baselines.base import train_counts

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Neighbourhood:
    """How `ItemKNN` counts. The defaults are untuned.

    Attributes:
        window: pairs of items at most so many steps apart are neighbours. falloff: a pair that is d steps apart weighs
            d ** -falloff. backwards: weight of a neighbour that came before. last: items of the history that are asked.
        decay: weight of each further item back. normalisation: similarities are divided by both items' training
            counts to this power (0.5: cosine). shrinkage: added to these counts, so that rare pairs count for less.
    """

    window: int = 5
    falloff: float = 1.0
    backwards: float = 0.5
    last: int = 5
    decay: float = 0.7
    normalisation: float = 0.5
    shrinkage: float = 0.0


class ItemKNN:
    """Co-occurrence in sequences, normalised; a history's last items are asked for their neighbours.

    The score of an item is the sum of its similarities to the last items of the history, each step back weighing less.
    Items without any such neighbour are not recommended.
    """

    def __init__(
        self,
        train: Mapping[str, list[str]],
        row_of: Mapping[str, int],
        how: Neighbourhood | None = None,
        name: str = "item-knn (untuned)",
    ) -> None:
        self.name = name
        self.how = how or Neighbourhood()
        rows = np.asarray([row_of[item] for items in train.values() for item in items], dtype=np.int64)
        users = np.repeat(np.arange(len(train)), [len(items) for items in train.values()])
        self._similarity = _similarity(rows, users, train_counts(train, row_of), self.how)

    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) summed similarities; -inf: no neighbour."""
        found = self.similar(histories).toarray()
        return np.where(found > 0, found, -np.inf)

    def similar(self, histories: Sequence[Sequence[int]]) -> sparse.csr_matrix:
        """`scores` as a sparse matrix (U, N): what is not there has no neighbour."""
        recent = [list(history[-self.how.last :])[::-1] for history in histories]
        owners = np.repeat(np.arange(len(recent)), [len(rows) for rows in recent])
        weights = np.concatenate([self.how.decay ** np.arange(len(rows)) for rows in recent])
        shape = (len(recent), self._similarity.shape[0])
        asked = sparse.csr_matrix((weights, (owners, list(itertools.chain(*recent)))), shape=shape)
        return asked @ self._similarity


def _similarity(
    rows: npt.NDArray[np.int64], users: npt.NDArray[np.int64], counts: Floats, how: Neighbourhood
) -> sparse.csr_matrix:
    """(N, N); row: the item asked, column: the item recommended.

    Args:
        rows: (T,) items of all training histories, one behind the other. users: (T,) whose. counts: (N,) of each item.
    """
    firsts, laters, weights = [], [], []
    longest = int(np.bincount(users).max()) - 1 if len(users) else 0
    for distance in range(1, min(how.window, longest) + 1):
        together = users[distance:] == users[:-distance]
        firsts.append(rows[:-distance][together])
        laters.append(rows[distance:][together])
        weights.append(np.full(len(firsts[-1]), float(distance) ** -how.falloff))
    size = (len(counts), len(counts))
    if not firsts:
        return sparse.csr_matrix(size)
    pairs = (np.concatenate(firsts), np.concatenate(laters))
    counted = sparse.csr_matrix((np.concatenate(weights), pairs), shape=size)
    if how.backwards:
        counted = counted + how.backwards * counted.T
    scale = sparse.diags(np.maximum(counts + how.shrinkage, 1) ** -how.normalisation)
    # The diagonal stays: where users come back to an item, an item is its own neighbour.
    return (scale @ counted @ scale).tocsr()
