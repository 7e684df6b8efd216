"""The recommenders that a blend mixes: what each lists, and how it scores what the others list.

`ask_members` asks all of them: first for their lists, then for their scores of the union of these lists. A language
model is a member by `gti_cli.blends.language_model`, a baseline by `BaselineMember`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gti_cli.baselines import base
from gti_cli.baselines.base import Baseline
from gti_cli.blends.candidate_table import Candidates, union
from gti_cli.blends.fit import MemberScores
from gti_cli.blends.mixing import find_contexts

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_COUNTS = ("popularity", "item-knn")  # Their scores are positive: the logarithm makes them comparable with logits.


class Member(Protocol):
    """A recommender of a blend.

    The folder is where a member keeps finished parts of its work, so that an interrupted stage goes on from there; None
    keeps nothing.
    """

    name: str

    def lists(
        self,
        histories: Sequence[Sequence[int]],
        k: int,
        *,
        filter_seen: bool,
        allowed: Mask | None = None,
        folder: Path | None = None,
    ) -> Ints:
        """(U, k) catalogue rows of the best items, with -1 after the last; see `baselines.base.best_items`."""

    def scores(
        self, histories: Sequence[Sequence[int]], candidates: Candidates, *, folder: Path | None = None
    ) -> Floats:
        """(n,) scores of the candidates; -inf for one that the member does not recommend."""


class BaselineMember:
    """A fitted baseline as a member."""

    def __init__(self, name: str, baseline: Baseline, items: int) -> None:
        """Take a baseline over a catalogue of ``items`` items."""
        self.name = name
        self._baseline, self._items = baseline, items

    def lists(
        self,
        histories: Sequence[Sequence[int]],
        k: int,
        *,
        filter_seen: bool,
        allowed: Mask | None = None,
        folder: Path | None = None,
    ) -> Ints:
        """(U, k) catalogue rows of the best items, with -1 after the last."""
        return base.best_items(
            self._baseline, histories, self._items, filter_seen=filter_seen, k=min(k, self._items), allowed=allowed
        )

    def scores(
        self, histories: Sequence[Sequence[int]], candidates: Candidates, *, folder: Path | None = None
    ) -> Floats:
        """(n,) scores of the candidates: logarithms of counts, or the baseline's logits or cosines as they are."""
        scores = self._baseline.candidate_scores(histories, base.Candidates(candidates.offsets, candidates.rows))
        if self.name not in _COUNTS:
            return scores
        is_positive = scores > 0
        return np.where(is_positive, np.log(np.where(is_positive, scores, 1.0)), -np.inf)


def ask_members(
    members: Sequence[Member],
    histories: list[list[int]],
    counts: Floats,
    *,
    list_length: int,
    filter_seen: bool,
    allowed: Mask | None = None,
    folder: Path | None = None,
) -> MemberScores:
    """Ask members for their lists, and then for their scores of all items in these lists.

    Args:
        members: M recommenders.
        histories: Catalogue rows of each of U histories, oldest first.
        counts: (N,) training interactions of each item.
        list_length: Length of each member's lists.
        filter_seen: Leave out the items of a user's own history.
        allowed: (N,) items that may be recommended. None: all.
        folder: Where finished parts are kept. None: nowhere.
    """
    lists = [
        member.lists(histories, list_length, filter_seen=filter_seen, allowed=allowed, folder=folder)
        for member in members
    ]
    candidates = union(lists, histories, filter_seen=filter_seen)
    owners, rows = candidates.owners, candidates.rows
    lengths = np.asarray([len(history) for history in histories], dtype=np.int64)
    return MemberScores(
        tuple(member.name for member in members),
        candidates,
        np.stack([member.scores(histories, candidates, folder=folder) for member in members]),
        np.stack([_is_listed(candidates, rows_of_member) for rows_of_member in lists]),
        find_contexts(lengths[owners], counts[rows].astype(np.int64)),
    )


def _is_listed(candidates: Candidates, lists: Ints) -> Mask:
    """(n,) whether each candidate is in its user's list, of (U, k) lists."""
    width = int(max(lists.max(initial=0), candidates.rows.max(initial=0))) + 1
    users = np.arange(len(lists))[:, None]
    listed = np.unique((users * width + lists)[lists >= 0])
    return np.isin(candidates.owners * width + candidates.rows, listed)
