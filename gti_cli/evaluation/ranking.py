"""From ranked semantic IDs to ranked items: what is recommended to each user, and where the target stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gti_cli.decoding.beam import Ranking
from gti_cli.decoding.trie import Trie
from gti_cli.evaluation.metrics import Ranks
from gti_cli.histories.splits import History


@dataclass(frozen=True)
class Recommended:
    """Items recommended to one user, best first: catalogue rows and log-probabilities."""

    rows: list[int]
    scores: list[float]


def recommend_items(
    ranking: Ranking, trie: Trie, entries: Sequence[History], row_of: Mapping[str, int], *, most: int, filter_seen: bool
) -> tuple[list[Recommended], Ranks]:
    """Expand each user's semantic IDs into items.

    Args:
        ranking: of B users. trie: of the catalogue. entries: the B users. row_of: item id -> catalogue row.
        most: items to list for each user. filter_seen: leave out items of the user's own history.

    Returns:
        B lists, and the targets' places. Items that share a semantic ID stand in the catalogue's order in the list; the
        target's place is the whole tie (see `metrics`). A target that no listed semantic ID holds has ``ahead`` = -1.
    """
    lists: list[Recommended] = []
    ahead = np.full(len(entries), -1, dtype=np.int64)
    ties = np.ones(len(entries), dtype=np.int64)
    for user, entry in enumerate(entries):
        seen = {row_of[item] for item in entry.items} if filter_seen else set()
        target = row_of[entry.target]
        rows: list[int] = []
        scores: list[float] = []
        for leaf, score in zip(ranking.leaves[user], ranking.scores[user], strict=True):
            if leaf < 0:
                break
            items = [row for row in trie.items_of(int(leaf)).tolist() if row not in seen]
            if target in items:
                ahead[user], ties[user] = len(rows), len(items)
            rows += items
            scores += [float(score)] * len(items)
        lists.append(Recommended(rows[:most], scores[:most]))
    return lists, Ranks(ahead, ties)
