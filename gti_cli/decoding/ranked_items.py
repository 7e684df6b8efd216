"""The items behind ranked semantic IDs: first as groups that share an ID, then as one list.

`gti_cli.decoding.search_parts` comes before: it returns the `Ranking` of the semantic IDs. A stage then calls
`item_groups` and `first_items` for one prompt, or `ranked_entries` and `ItemLists.first` for many at once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.decoding.beam import Ranking
from gti_cli.decoding.constraints.allowed_nodes import AllowedItems, ItemChoice
from gti_cli.decoding.trie import Trie
from gti_cli.tables.arrays.ragged import offsets_of, places_from, places_in_lists
from gti_cli.tables.arrays.row_lists import RowLists

Ints = npt.NDArray[np.int64]

PROMPTS_AT_ONCE = 8192  # prompts whose items are looked up together


@dataclass(frozen=True)
class RankedItems:
    """Items recommended to one user or for one query, best first.

    Attributes:
        rows: Catalogue rows.
        scores: Log-probability of each row's semantic ID.
    """

    rows: list[int]
    scores: list[float]


def item_groups(
    ranking: Ranking,
    trie: Trie,
    number: int,
    seen: Collection[int] = (),
    allowed: ItemChoice | None = None,
) -> list[tuple[list[int], float]]:
    """Look up the items of each semantic ID that was ranked for one prompt.

    Several items in one group share a semantic ID. The model cannot tell them apart, and they stand in the catalogue's
    order.

    Args:
        ranking: The ranked semantic IDs of all prompts.
        trie: All semantic IDs of the catalogue.
        number: The prompt's row in the ranking.
        seen: Catalogue rows to leave out, such as the items of the user's history.
        allowed: Which catalogue rows may be listed. None: all.

    Returns:
        Catalogue rows and score of each semantic ID, best first. A group is empty where all its items are left out.
    """
    hidden = set(seen)

    def rows_of(leaf: int) -> list[int]:
        """The rows of a Semantic ID that may be listed."""
        rows = trie.items_of(leaf)
        kept: list[int] = (rows if allowed is None else rows[allowed.allows(rows)]).tolist()
        return kept

    return [
        ([row for row in rows_of(int(leaf)) if row not in hidden], float(score))
        for leaf, score in zip(ranking.leaves[number], ranking.scores[number], strict=True)
        if leaf >= 0
    ]


def first_items(groups: Sequence[tuple[list[int], float]], limit: int) -> RankedItems:
    """Take the first ``limit`` items of the groups that `item_groups` returned."""
    rows = [row for group, _ in groups for row in group]
    scores = [score for group, score in groups for _ in group]
    return RankedItems(rows[:limit], scores[:limit])


class ItemLists(Sequence[RankedItems]):
    """Items recommended to P users or for P queries, as arrays; single lists are made on demand.

    Attributes:
        offsets: (P + 1,) int64. List n has the places ``offsets[n]`` to ``offsets[n + 1]`` - 1 of the other arrays.
        rows: (M,) int32 catalogue rows, best first in each list.
        scores: (M,) float32 or float64 score of each row.
    """

    def __init__(
        self, offsets: Ints, rows: npt.NDArray[np.integer[Any]], scores: npt.NDArray[np.floating[Any]]
    ) -> None:
        """Take the arrays; see the attributes."""
        self.offsets, self.rows, self.scores = offsets, rows.astype(np.int32, copy=False), scores

    @classmethod
    def of(cls, lists: Sequence[RankedItems]) -> ItemLists:
        """The lists themselves if they are arrays already, else copied into arrays."""
        if isinstance(lists, ItemLists):
            return lists
        offsets = np.cumsum([0, *(len(items.rows) for items in lists)], dtype=np.int64)
        rows = np.fromiter((row for items in lists for row in items.rows), np.int32, int(offsets[-1]))
        scores = np.fromiter((score for items in lists for score in items.scores), np.float64, int(offsets[-1]))
        return cls(offsets, rows, scores)

    @classmethod
    def of_table(cls, rows: npt.NDArray[np.integer[Any]], scores: npt.NDArray[np.floating[Any]]) -> ItemLists:
        """The lists of (P, k) tables of catalogue rows and scores; a row below 0 is no item."""
        is_item = rows >= 0
        return cls(offsets_of(is_item.sum(axis=1)), rows[is_item], scores[is_item])

    @classmethod
    def first(
        cls, owners: Ints, rows: Ints, scores: npt.NDArray[np.floating[Any]], count: int, limit: int
    ) -> ItemLists:
        """The first ``limit`` items of each of ``count`` users, from items of all users, one user behind the other.

        Args:
            owners: (M,) number of the user of each item, rising.
            rows: (M,) catalogue rows, best first for each user.
            scores: (M,) their scores.
            count: Number of users, P.
            limit: Most items of a list.
        """
        lengths = np.bincount(owners, minlength=count)
        kept = places_in_lists(lengths) < limit
        return cls(offsets_of(np.minimum(lengths, limit)), rows[kept], scores[kept])

    @classmethod
    def joined(cls, parts: Sequence[ItemLists]) -> ItemLists:
        """The lists of several parts, one behind the other."""
        lengths = np.concatenate([np.zeros(1, np.int64), *(part.lengths for part in parts)])
        rows = np.concatenate([np.zeros(0, np.int32), *(part.rows for part in parts)])
        return cls(
            np.cumsum(lengths), rows, np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)])
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            start, stop, step = number.indices(len(self))
            if step != 1:
                return [self[one] for one in range(start, stop, step)]
            offsets = self.offsets[start : max(start, stop) + 1]
            places = slice(offsets[0], offsets[-1])
            return ItemLists(offsets - offsets[0], self.rows[places], self.scores[places])
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        places = slice(*self.offsets[number % len(self) :][:2])
        return RankedItems(self.rows[places].tolist(), self.scores[places].tolist())

    @property
    def lengths(self) -> Ints:
        """(P,) number of items of each list."""
        lengths: Ints = np.diff(self.offsets)
        return lengths

    def owners(self) -> Ints:
        """(M,) number of the list of each item."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def places(self) -> Ints:
        """(M,) place of each item in its list, from 0."""
        return np.arange(len(self.rows)) - np.repeat(self.offsets[:-1], self.lengths)

    def table(self, k: int) -> Ints:
        """(P, k) catalogue rows; a list shorter than ``k`` is filled up with -1."""
        table = np.full((len(self), k), -1, dtype=np.int64)
        table[self.owners(), self.places()] = self.rows
        return table


@dataclass(frozen=True)
class RankedEntries:
    """The items behind the ranked semantic IDs of P prompts: one prompt behind the other, best first.

    Attributes:
        owners: (M,) int64 number of the prompt.
        places: (M,) int64 place of the item's semantic ID in the ranking, from 0. Items of one place share an ID.
        rows: (M,) int64 catalogue rows; items of one semantic ID are in the catalogue's order.
        scores: (M,) float32 scores of the semantic IDs.
    """

    owners: Ints
    places: Ints
    rows: Ints
    scores: npt.NDArray[np.float32]


def ranked_entries(
    ranking: Ranking, trie: Trie, hidden: RowLists | None = None, allowed: AllowedItems | None = None, start: int = 0
) -> RankedEntries:
    """Look up the items of all ranked semantic IDs, as `item_groups` does for one prompt.

    Args:
        ranking: The ranked semantic IDs of P prompts.
        trie: All semantic IDs of the catalogue.
        hidden: For each prompt, catalogue rows to leave out. None: none.
        allowed: The items that the list of each prompt may have. None: all.
        start: The number that the first prompt has in ``hidden`` and ``allowed``.
    """
    owners, places = np.nonzero(ranking.leaves >= 0)
    leaves, scores = ranking.leaves[owners, places], ranking.scores[owners, places]
    first = trie.item_starts[leaves]
    counts = trie.item_starts[leaves + 1] - first
    rows = trie.items[places_from(first, counts)]
    owners, places, scores = np.repeat(owners, counts), np.repeat(places, counts), np.repeat(scores, counts)
    kept = np.ones(len(rows), dtype=bool)
    if hidden is not None:
        kept &= ~hidden.has(owners + start, rows)
    if allowed is not None:
        for choice, part in _parts_of_one_choice(allowed, owners, start):
            kept[part] &= choice.allows(rows[part])
    return RankedEntries(owners[kept], places[kept], rows[kept], scores[kept])


def _parts_of_one_choice(allowed: AllowedItems, owners: Ints, start: int) -> Sequence[tuple[ItemChoice, slice]]:
    """Divide entries into slices for which one choice of items holds."""
    if len(allowed.choices) == 1:
        return [(allowed.choices[0], slice(None))]
    ends = np.flatnonzero(np.diff(owners, append=-1)) + 1
    starts = [0, *ends[:-1].tolist()]
    return [
        (allowed.of(int(owners[first]) + start), slice(first, end))
        for first, end in zip(starts, ends.tolist(), strict=True)
    ]


def first_of_each(
    ranking: Ranking, trie: Trie, limit: int, hidden: RowLists | None = None, allowed: AllowedItems | None = None
) -> ItemLists:
    """The first ``limit`` items of each prompt, from some thousand prompts at a time; see `ranked_entries`."""
    parts = []
    for start in range(0, len(ranking.leaves), PROMPTS_AT_ONCE):
        some = slice(start, start + PROMPTS_AT_ONCE)
        part = Ranking(ranking.leaves[some], ranking.scores[some], ranking.dropped[some])
        found = ranked_entries(part, trie, hidden, allowed, start)
        parts.append(ItemLists.first(found.owners, found.rows, found.scores, len(part.leaves), limit))
    return ItemLists.joined(parts)
