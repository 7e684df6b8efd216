"""What baselines without a language model have in common: the same users, the same metrics, every item ranked.

They learn from the training part of the interactions, as the model did, and see of a user what the model sees: all
before the target, so for a test item the validation item too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.evaluation.metrics.ranking import Ranks
from gti_cli.tables.histories import History

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_USERS = 256  # users scored at a time


class Baseline(Protocol):
    """Gives every item a score; -inf: not recommended."""

    name: str

    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) scores after each of U histories (catalogue rows, oldest first)."""


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
            targets = [row_of[entry.target] for entry in part]
            ranks.append(places_of(scores, histories, targets, filter_seen=filter_seen))
            lists.append(top(scores, k))
            advance(len(part))
    joined = Ranks(np.concatenate([r.ahead for r in ranks]), np.concatenate([r.ties for r in ranks]))
    return joined, np.concatenate(lists)


def places_of(
    scores: Floats, histories: Sequence[Sequence[int]], targets: Sequence[int], *, filter_seen: bool
) -> Ranks:
    """Where the target stands in each row of ``scores`` (U, N); with ``filter_seen`` the items of the histories are set
    to -inf there.
    """
    if filter_seen:
        for user, rows in enumerate(histories):
            scores[user, rows] = -np.inf
    own = scores[np.arange(len(scores)), np.asarray(targets)][:, None]
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
