"""The common part of the baselines for users: every item is scored, and the target is ranked among all of them.

Baselines are evaluated on the same users and by the same metrics as a model. They learn from the training part of the
interactions, as the model did, and see of a user what the model sees: all items before the target, so for a test item
the validation item too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.evaluation.metrics.ranking import TargetRanks, join_ranks
from gti_cli.tables.histories import History

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_USERS_AT_ONCE = 256  # Users scored at a time.


class Baseline(Protocol):
    """A fitted baseline, which gives every item a score."""

    name: str

    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) scores after each of U histories (catalogue rows, oldest first); -inf for an item not recommended."""


def train_counts(train: Mapping[str, list[str]], row_of: Mapping[str, int]) -> Floats:
    """(N,) number of training interactions of each item."""
    rows = np.asarray([row_of[item] for items in train.values() for item in items], dtype=np.int64)
    return np.bincount(rows, minlength=len(row_of)).astype(np.float64)


def spread_sample(entries: Sequence[History], limit: int) -> Sequence[History]:
    """At most ``limit`` of the entries, evenly spread over them."""
    return [entries[n * len(entries) // limit] for n in range(limit)] if len(entries) > limit else entries


def rank_all_items(
    baseline: Baseline,
    entries: Sequence[History],
    row_of: Mapping[str, int],
    *,
    filter_seen: bool,
    k: int,
) -> tuple[TargetRanks, Ints]:
    """Rank every item for every user.

    Args:
        baseline: A fitted baseline.
        entries: History and target of U users.
        row_of: Catalogue row of each item id.
        filter_seen: Do not recommend the items of a user's own history.
        k: Length of the lists.

    Returns:
        The targets' ranks, where equal scores are one tie; and the lists, (U, k) catalogue rows with -1 after the last
        item, where equal scores are in the catalogue's order.
    """
    ranks: list[TargetRanks] = []
    lists: list[Ints] = []
    with console.progress(f"Baseline {baseline.name}", len(entries), "users") as advance:
        for start in range(0, len(entries), _USERS_AT_ONCE):
            part = entries[start : start + _USERS_AT_ONCE]
            histories = [[row_of[item] for item in entry.items] for entry in part]
            scores = baseline.scores(histories)
            targets = [row_of[entry.target] for entry in part]
            ranks.append(target_ranks(scores, histories, targets, filter_seen=filter_seen))
            lists.append(top_columns(scores, k))  # `target_ranks` has removed seen items from the scores.
            advance(len(part))
    return join_ranks(ranks), np.concatenate(lists)


def target_ranks(
    scores: Floats, histories: Sequence[Sequence[int]], targets: Sequence[int], *, filter_seen: bool
) -> TargetRanks:
    """Rank the target in each row of scores.

    Args:
        scores: (U, N) scores; -inf for an item not recommended. With ``filter_seen`` they are changed in place: items
            of the history become -inf.
        histories: Catalogue rows of each user's history.
        targets: (U,) catalogue rows.
        filter_seen: Do not recommend the items of a user's own history.
    """
    if filter_seen:
        for user, rows in enumerate(histories):
            scores[user, rows] = -np.inf
    own = scores[np.arange(len(scores)), np.asarray(targets)][:, None]
    is_recommended = np.isfinite(own[:, 0])
    ahead, ties = (scores > own).sum(1), (scores == own).sum(1)
    return TargetRanks(np.where(is_recommended, ahead, -1), np.where(is_recommended, ties, 1))


def top_columns(scores: Floats, k: int) -> Ints:
    """Find the columns of the largest finite scores of each row.

    Args:
        scores: (U, N).
        k: How many to find.

    Returns:
        (U, k) columns, best first, with -1 after the last; equal scores in the order of columns.
    """
    most = min(k, scores.shape[1])
    bound = np.partition(scores, scores.shape[1] - most, axis=1)[:, scores.shape[1] - most]
    columns = np.full((len(scores), k), -1, dtype=np.int64)
    for row, (values, least) in enumerate(zip(scores, bound, strict=True)):
        # More than k where scores tie at the bound.
        candidates = np.flatnonzero((values >= least) & np.isfinite(values))
        best = candidates[np.argsort(-values[candidates], kind="stable")][:k]
        columns[row, : len(best)] = best
    return columns
