"""The common part of the baselines for users: every item is scored, and the target is ranked among all of them.

Baselines are evaluated on the same users and by the same metrics as a model. They learn from the training part of the
interactions, as the model did, and see of a user what the model sees: all items before the target, so for a test item
the validation item too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.baselines.ranking.top_columns import top_columns
from gti_cli.metrics.ranking import TargetRanks, join_ranks
from gti_cli.tables.arrays.ragged import owners_of
from gti_cli.tables.arrays.targets import History, Targets
from gti_cli.tables.arrays.user_lists import UserLists

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

EMBEDDINGS = "embeddings.safetensors"  # Written by `gti build-ids`.

_USERS_AT_ONCE = 256  # Users scored at a time.
_CELLS_AT_ONCE = 1 << 25  # Most scores in memory at a time: 256 MB. A catalogue of millions is scored for a few users.
_USERS_FOR_BLOCKS = 1024  # Users for whom one pass over a catalogue is made in blocks.


@dataclass(frozen=True)
class Candidates:
    """The items to score for each of U users: lists of any lengths, one after the other.

    Attributes:
        starts: (U + 1,) int64. The candidates of user u are ``rows[starts[u] : starts[u + 1]]``.
        rows: (M,) int64 catalogue rows.
    """

    starts: Ints
    rows: Ints

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[int]]) -> Candidates:
        """Join the lists of U users."""
        starts = np.cumsum([0, *map(len, lists)], dtype=np.int64)
        return cls(starts, np.fromiter(itertools.chain.from_iterable(lists), np.int64, int(starts[-1])))

    def owners(self) -> Ints:
        """(M,) number of the user, from 0, whose candidate each row is."""
        return owners_of(np.diff(self.starts))

    def part(self, first: int, last: int) -> Candidates:
        """The candidates of the users ``first`` to ``last`` - 1."""
        starts = self.starts[first : last + 1]
        return Candidates(starts - starts[0], self.rows[starts[0] : starts[-1]])


class Baseline(Protocol):
    """A fitted baseline, which gives every item a score."""

    name: str

    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) scores after each of U histories (catalogue rows, oldest first); -inf for an item not recommended."""

    def candidate_scores(self, histories: Sequence[Sequence[int]], candidates: Candidates) -> Floats:
        """(M,) scores of each user's candidates alone, in the order of ``candidates.rows``; otherwise as `scores`."""


@runtime_checkable
class ScoresInBlocks(Protocol):
    """A baseline that makes one pass over the catalogue for many users, and never holds all of their scores."""

    def score_blocks(self, histories: Sequence[Sequence[int]]) -> Iterator[tuple[int, Floats]]:
        """The first row of a block of the catalogue, and the (U, n) scores of its items, for block after block."""


@runtime_checkable
class RanksItself(Protocol):
    """A baseline that ranks items without a score for each of them: a list takes as long in a larger catalogue."""

    def target_ranks(
        self, histories: Sequence[Sequence[int]], targets: Sequence[int], *, filter_seen: bool
    ) -> TargetRanks:
        """The rank of each target, as `target_ranks` finds it from the scores of all items."""

    def best_items(
        self, histories: Sequence[Sequence[int]], *, filter_seen: bool, k: int, allowed: Mask | None = None
    ) -> Ints:
        """(U, k) the best items, as the function `best_items` finds them from the scores of all items."""


def user_parts(
    histories: Sequence[Sequence[int]], candidates: Candidates, users: int = _USERS_AT_ONCE
) -> Iterator[tuple[Sequence[Sequence[int]], Candidates]]:
    """Divide histories and their candidates into parts of at most ``users`` users."""
    for first in range(0, len(histories), users):
        last = min(first + users, len(histories))
        yield histories[first:last], candidates.part(first, last)


def train_counts(train: Mapping[str, Sequence[str]], row_of: Mapping[str, int]) -> Floats:
    """(N,) number of training interactions of each item."""
    return np.bincount(UserLists.of(train).rows(row_of), minlength=len(row_of)).astype(np.float64)


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
    in_blocks = baseline if isinstance(baseline, ScoresInBlocks) else None
    at_once, all_targets = _users_at_once(baseline, len(row_of)), Targets.of(entries)
    ranks: list[TargetRanks] = []
    lists: list[Ints] = []
    with console.progress(f"Baseline {baseline.name}", len(entries), "users") as advance:
        for start in range(0, len(all_targets), at_once):
            part = all_targets[start : start + at_once]
            histories, targets = list(part.histories(row_of)), part.rows(row_of).tolist()
            if in_blocks is not None:
                own = baseline.candidate_scores(histories, Candidates.from_lists([[row] for row in targets]))
                blocks = in_blocks.score_blocks(histories)
                of_part = rank_in_blocks(blocks, own, histories, targets, filter_seen=filter_seen, k=k)
            elif isinstance(baseline, RanksItself):
                of_targets = baseline.target_ranks(histories, targets, filter_seen=filter_seen)
                of_part = of_targets, baseline.best_items(histories, filter_seen=filter_seen, k=k)
            else:
                scores = baseline.scores(histories)
                of_targets = target_ranks(scores, histories, targets, filter_seen=filter_seen)
                of_part = of_targets, top_columns(scores, k)  # `target_ranks` has removed seen items from the scores.
            ranks.append(of_part[0])
            lists.append(of_part[1])
            advance(len(part))
    return join_ranks(ranks), np.concatenate(lists)


def best_items(
    baseline: Baseline,
    histories: Sequence[Sequence[int]],
    items: int,
    *,
    filter_seen: bool,
    k: int,
    allowed: Mask | None = None,
) -> Ints:
    """Find the best items for every history, where no target is to be ranked.

    Args:
        baseline: A fitted baseline.
        histories: Catalogue rows of U histories.
        items: Number of items of the catalogue, N.
        filter_seen: Leave out the items of the history itself.
        k: Length of the lists.
        allowed: (N,) items that may be listed. None: all.

    Returns:
        (U, k) catalogue rows, best first, with -1 after the last; equal scores are in the catalogue's order.
    """
    in_blocks = baseline if isinstance(baseline, ScoresInBlocks) else None
    at_once = _users_at_once(baseline, items)
    lists = [np.zeros((0, k), dtype=np.int64)]
    with console.progress(f"Lists of {baseline.name}", len(histories), "users") as advance:
        for start in range(0, len(histories), at_once):
            part = histories[start : start + at_once]
            if in_blocks is not None:
                # Nobody asks for the ranks: any item can stand for the target, with its own score.
                own = baseline.candidate_scores(part, Candidates.from_lists([[0]] * len(part)))
                if allowed is not None and not allowed[0]:
                    own[:] = -np.inf
                blocks = _only_allowed(in_blocks.score_blocks(part), allowed)
                lists.append(rank_in_blocks(blocks, own, part, [0] * len(part), filter_seen=filter_seen, k=k)[1])
            elif isinstance(baseline, RanksItself):
                lists.append(baseline.best_items(part, filter_seen=filter_seen, k=k, allowed=allowed))
            else:
                scores = baseline.scores(part)
                if filter_seen:
                    _hide_seen(scores, part)
                if allowed is not None:
                    scores[:, ~allowed] = -np.inf
                lists.append(top_columns(scores, k))
            advance(len(part))
    return np.concatenate(lists)


def _users_at_once(baseline: Baseline, items: int) -> int:
    """For how many users a baseline scores ``items`` items at a time."""
    if isinstance(baseline, ScoresInBlocks):
        return _USERS_FOR_BLOCKS
    cells = 0 if isinstance(baseline, RanksItself) else items
    return max(1, min(_USERS_AT_ONCE, _CELLS_AT_ONCE // max(cells, 1)))


def _only_allowed(blocks: Iterator[tuple[int, Floats]], allowed: Mask | None) -> Iterator[tuple[int, Floats]]:
    for first, scores in blocks:
        if allowed is not None:
            scores[:, ~allowed[first : first + scores.shape[1]]] = -np.inf
        yield first, scores


def _hide_seen(scores: Floats, histories: Sequence[Sequence[int]]) -> None:
    for user, rows in enumerate(histories):
        scores[user, rows] = -np.inf


def rank_in_blocks(
    blocks: Iterator[tuple[int, Floats]],
    own: Floats,
    histories: Sequence[Sequence[int]],
    targets: Sequence[int],
    *,
    filter_seen: bool,
    k: int,
) -> tuple[TargetRanks, Ints]:
    """Rank the targets and find the best items, as `target_ranks` and `top_columns` do, from one block after another.

    Args:
        blocks: From `ScoresInBlocks.score_blocks`; changed in place.
        own: (U,) score of each user's target; -inf where it is not recommended. Changed in place.
        histories: Catalogue rows of each user's history.
        targets: (U,) catalogue rows.
        filter_seen: Do not recommend the items of a user's own history.
        k: Length of the lists; 0: ranks only.

    Returns:
        The targets' ranks, and the (U, k) catalogue rows of the best items.
    """
    users, target_rows = np.arange(len(targets)), np.asarray(targets)
    owners = np.repeat(users, [len(rows) for rows in histories])
    seen = np.fromiter(itertools.chain.from_iterable(histories), np.int64, len(owners))
    if filter_seen:
        own[owners[seen == target_rows[owners]]] = -np.inf
    ahead, ties = np.zeros(len(users), np.int64), np.zeros(len(users), np.int64)
    best_rows, best_scores = np.full((len(users), k), -1), np.full((len(users), k), -np.inf)
    for first, scores in blocks:
        if filter_seen:
            inside = (seen >= first) & (seen < first + scores.shape[1])
            scores[owners[inside], seen[inside] - first] = -np.inf
        inside = (target_rows >= first) & (target_rows < first + scores.shape[1])
        # The same number as in the comparison below, however it was rounded: the target ties with itself.
        scores[users[inside], target_rows[inside] - first] = own[inside]
        ahead += (scores > own[:, None]).sum(1)
        ties += (scores == own[:, None]).sum(1)
        if k:
            # Items of earlier blocks stand first, so equal scores stay in the catalogue's order.
            columns = top_columns(scores, min(k, scores.shape[1]))
            kept = np.where(columns >= 0, np.take_along_axis(scores, np.maximum(columns, 0), 1), -np.inf)
            all_scores = np.concatenate([best_scores, kept], axis=1)
            all_rows = np.concatenate([best_rows, np.where(columns >= 0, columns + first, -1)], axis=1)
            order = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]
            best_scores, best_rows = (np.take_along_axis(both, order, 1) for both in (all_scores, all_rows))
    is_recommended = np.isfinite(own)
    return TargetRanks(np.where(is_recommended, ahead, -1), np.where(is_recommended, ties, 1)), best_rows


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
        _hide_seen(scores, histories)
    own = scores[np.arange(len(scores)), np.asarray(targets)][:, None]
    is_recommended = np.isfinite(own[:, 0])
    ahead, ties = (scores > own).sum(1), (scores == own).sum(1)
    return TargetRanks(np.where(is_recommended, ahead, -1), np.where(is_recommended, ties, 1))
