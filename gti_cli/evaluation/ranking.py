"""From ranked semantic IDs to ranked items: what is recommended to each user, and where the target stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gti_cli.decoding.beam import Ranking
from gti_cli.decoding.search import RankedItems, first_items, item_groups
from gti_cli.decoding.trie import Trie
from gti_cli.evaluation.metrics.ranking import Ranks
from gti_cli.tables.histories import History


def recommend_items(
    ranking: Ranking, trie: Trie, entries: Sequence[History], row_of: Mapping[str, int], *, most: int, filter_seen: bool
) -> tuple[list[RankedItems], Ranks]:
    """Expand each user's semantic IDs into items.

    Args:
        ranking: of B users. trie: of the catalogue. entries: the B users. row_of: item id -> catalogue row.
        most: items to list for each user. filter_seen: leave out items of the user's own history.

    Returns:
        B lists, and the targets' places. Items that share a semantic ID stand in the catalogue's order in the list; the
        target's place is the whole tie (see `metrics`). A target that no listed semantic ID holds has ``ahead`` = -1.
    """
    lists: list[RankedItems] = []
    ahead = np.full(len(entries), -1, dtype=np.int64)
    ties = np.ones(len(entries), dtype=np.int64)
    for user, entry in enumerate(entries):
        seen = {row_of[item] for item in entry.items} if filter_seen else set()
        target = row_of[entry.target]
        groups = item_groups(ranking, trie, user, seen)
        before = 0
        for rows, _ in groups:
            if target in rows:
                ahead[user], ties[user] = before, len(rows)
            before += len(rows)
        lists.append(first_items(groups, most))
    return lists, Ranks(ahead, ties)
