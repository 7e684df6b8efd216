"""Baselines without a language model, on the same users and by the same metrics.

Both learn from the training part of the interactions and see of a user what the model sees: all before the target.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli import console
from gti_cli.evaluation.metrics import Ranks, ranks_from_scores
from gti_cli.histories.splits import History

Floats = npt.NDArray[np.float64]

WINDOW = 5  # pairs of items at most so many steps apart count as neighbours
BACKWARDS = 0.5  # weight of a neighbour that came before
LAST = 5  # items of the history that are asked
DECAY = 0.7  # weight of each further item back


class Popularity:
    """Items by their number of training interactions; items with none are not recommended."""

    name = "popularity"

    def __init__(self, train: Mapping[str, list[str]], row_of: Mapping[str, int]) -> None:
        counts = np.zeros(len(row_of))
        for items in train.values():
            np.add.at(counts, [row_of[item] for item in items], 1)
        self._scores = np.where(counts > 0, counts, -np.inf)

    def scores(self, history: Sequence[int]) -> Floats:
        """(N,) score of every item, whatever the history."""
        return self._scores


class ItemKNN:
    """Neighbours in sequences: co-occurrence weighted by 1 / distance, half weight backwards, cosine-normalised.

    The score of an item is the sum of its similarities to the last `LAST` items, each step back weighing `DECAY` of the
    one after it. Items without any such neighbour are not recommended.
    """

    name = "item-knn"

    def __init__(self, train: Mapping[str, list[str]], row_of: Mapping[str, int]) -> None:
        sources: list[int] = []
        targets: list[int] = []
        weights: list[float] = []
        counts = np.zeros(len(row_of))
        for items in train.values():
            rows = [row_of[item] for item in items]
            np.add.at(counts, rows, 1)
            for place, row in enumerate(rows):
                for distance, later in enumerate(rows[place + 1 : place + 1 + WINDOW], start=1):
                    sources += [row, later]
                    targets += [later, row]
                    weights += [1 / distance, BACKWARDS / distance]
        shape = (len(row_of), len(row_of))
        counted = sparse.csr_matrix((weights, (sources, targets)), shape=shape)
        scale = sparse.diags(1 / np.sqrt(np.maximum(counts, 1)))
        # The diagonal stays: where users come back to an item, an item is its own neighbour.
        self._similarity = (scale @ counted @ scale).tocsr()

    def scores(self, history: Sequence[int]) -> Floats:
        """(N,) score of every item after ``history`` (rows, oldest first)."""
        recent = list(history[-LAST:])[::-1]
        weights = DECAY ** np.arange(len(recent))
        found: Floats = np.asarray(weights @ self._similarity[recent]).ravel()
        return np.where(found > 0, found, -np.inf)


def rank_targets(
    baseline: Popularity | ItemKNN, entries: Iterable[History], row_of: Mapping[str, int], *, filter_seen: bool
) -> Ranks:
    """Rank every item for every user and find the target's place.

    Args:
        baseline: fitted. entries: users with history and target. filter_seen: do not recommend items of the history.
    """
    entries = list(entries)
    ahead, ties = np.full(len(entries), -1), np.ones(len(entries), dtype=np.int64)
    with console.progress(f"Baseline {baseline.name}", len(entries), "users") as advance:
        for user, entry in enumerate(entries):
            history = [row_of[item] for item in entry.items]
            scores = baseline.scores(history)
            if filter_seen:
                scores = scores.copy()
                scores[history] = -np.inf
            ahead[user], ties[user] = ranks_from_scores(scores, row_of[entry.target])
            advance()
    return Ranks(ahead.astype(np.int64), ties)
