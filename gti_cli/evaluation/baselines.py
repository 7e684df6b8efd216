"""Baselines without a language model, on the same users and by the same metrics.

Both learn from the training part of the interactions and see of a user what the model sees: all before the target.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli import console
from gti_cli.evaluation.metrics import Ranks
from gti_cli.histories.splits import History

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_USERS = 256  # users scored at a time


class Baseline(Protocol):
    """Gives every item a score; -inf: not recommended."""

    name: str

    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) scores after each of U histories (catalogue rows, oldest first)."""


class Popularity:
    """Items by their number of training interactions; items with none are not recommended."""

    name = "popularity"

    def __init__(self, train: Mapping[str, list[str]], row_of: Mapping[str, int]) -> None:
        counts = train_counts(train, row_of)
        self._scores = np.where(counts > 0, counts, -np.inf)

    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) the same scores whatever the history."""
        return np.tile(self._scores, (len(histories), 1))


@dataclass(frozen=True)
class Neighbourhood:
    """How `ItemKNN` counts.

    Attributes:
        window: pairs of items at most so many steps apart are neighbours. backwards: weight of a neighbour that came
            before. last: items of the history that are asked. decay: weight of each further item back.
    """

    window: int = 5
    backwards: float = 0.5
    last: int = 5
    decay: float = 0.7


class ItemKNN:
    """Neighbours in sequences: co-occurrence weighted by 1 / distance, less backwards, cosine-normalised.

    The score of an item is the sum of its similarities to the last items of the history, each step back weighing less.
    Items without any such neighbour are not recommended.
    """

    name = "item-knn"

    def __init__(
        self, train: Mapping[str, list[str]], row_of: Mapping[str, int], how: Neighbourhood | None = None
    ) -> None:
        self._how = how or Neighbourhood()
        rows = np.asarray([row_of[item] for items in train.values() for item in items], dtype=np.int64)
        users = np.repeat(np.arange(len(train)), [len(items) for items in train.values()])
        counted = sparse.csr_matrix((len(row_of), len(row_of)))
        for distance in range(1, self._how.window + 1):
            together = users[distance:] == users[:-distance]
            first, later = rows[:-distance][together], rows[distance:][together]
            forwards = sparse.csr_matrix((np.full(len(first), 1 / distance), (first, later)), shape=counted.shape)
            counted = counted + forwards + self._how.backwards * forwards.T
        scale = sparse.diags(1 / np.sqrt(np.maximum(train_counts(train, row_of), 1)))
        # The diagonal stays: where users come back to an item, an item is its own neighbour.
        self._similarity = (scale @ counted @ scale).tocsr()

    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) summed similarities."""
        found = self._summed(histories).toarray()
        return np.where(found > 0, found, -np.inf)

    def _summed(self, histories: Sequence[Sequence[int]]) -> sparse.csr_matrix:
        recent = [list(history[-self._how.last :])[::-1] for history in histories]
        owners = np.repeat(np.arange(len(recent)), [len(rows) for rows in recent])
        weights = np.concatenate([self._how.decay ** np.arange(len(rows)) for rows in recent])
        shape = (len(recent), self._similarity.shape[0])
        asked = sparse.csr_matrix((weights, (owners, list(itertools.chain(*recent)))), shape=shape)
        return asked @ self._similarity


def train_counts(train: Mapping[str, list[str]], row_of: Mapping[str, int]) -> Floats:
    """(N,) training interactions of each item."""
    rows = np.asarray([row_of[item] for items in train.values() for item in items], dtype=np.int64)
    return np.bincount(rows, minlength=len(row_of)).astype(np.float64)


def rank_targets(
    baseline: Baseline,
    entries: Sequence[History],
    row_of: Mapping[str, int],
    *,
    filter_seen: bool,
    k: int,
) -> tuple[Ranks, Ints]:
    """Rank every item for every user.

    Args:
        baseline: fitted. entries: users with history and target. filter_seen: do not recommend items of the history.
        k: length of the lists.

    Returns:
        The targets' places, equal scores being one tie; and (U, k) catalogue rows as they would be shown, equal scores
        in the catalogue's order, -1: nothing more.
    """
    ranks: list[Ranks] = []
    lists: list[Ints] = []
    with console.progress(f"Baseline {baseline.name}", len(entries), "users") as advance:
        for start in range(0, len(entries), _USERS):
            part = entries[start : start + _USERS]
            histories = [[row_of[item] for item in entry.items] for entry in part]
            scores = baseline.scores(histories)
            if filter_seen:
                for user, rows in enumerate(histories):
                    scores[user, rows] = -np.inf
            ranks.append(_places(scores, np.asarray([row_of[entry.target] for entry in part])))
            lists.append(top(scores, k))
            advance(len(part))
    joined = Ranks(np.concatenate([r.ahead for r in ranks]), np.concatenate([r.ties for r in ranks]))
    return joined, np.concatenate(lists)


def _places(scores: Floats, targets: Ints) -> Ranks:
    own = scores[np.arange(len(scores)), targets][:, None]
    shown = np.isfinite(own[:, 0])
    ahead, ties = (scores > own).sum(1), (scores == own).sum(1)
    return Ranks(np.where(shown, ahead, -1), np.where(shown, ties, 1))


def top(scores: Floats, k: int) -> Ints:
    """(U, k) columns of the largest finite scores, best first; equal scores in order of columns; -1: nothing more."""
    most = min(k, scores.shape[1])
    bound = np.partition(scores, scores.shape[1] - most, axis=1)[:, scores.shape[1] - most]
    found = np.full((len(scores), k), -1, dtype=np.int64)
    for row, (values, least) in enumerate(zip(scores, bound, strict=True)):
        columns = np.flatnonzero((values >= least) & np.isfinite(values))  # more than k where scores tie at the bound
        best = columns[np.argsort(-values[columns], kind="stable")][:k]
        found[row, : len(best)] = best
    return found
