"""The items behind ranked semantic IDs: first as groups that share an ID, then as one list.

`gti_cli.decoding.search_parts` comes before: it returns the `Ranking` of the semantic IDs. A stage then calls
`item_groups` and `first_items`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gti_cli.decoding.beam import Ranking
from gti_cli.decoding.constraints.allowed_nodes import ItemChoice
from gti_cli.decoding.trie import Trie


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
