"""Lists of recommended items: made from ranked semantic IDs, as an array for the metrics, and as a file.

`gti_cli.decoding.search_parts` comes before: it returns the ranked semantic IDs. `gti_cli.decoding.ranked_items` looks
up the items of one semantic ID. `gti_cli.metrics` comes after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.decoding.beam import Ranking
from gti_cli.decoding.ranked_items import RankedItems, first_items, item_groups
from gti_cli.decoding.trie import Trie
from gti_cli.metrics.ranking import TargetRanks
from gti_cli.tables.histories import History


def recommend_items(
    ranking: Ranking,
    trie: Trie,
    entries: Sequence[History],
    row_of: Mapping[str, int],
    *,
    limit: int,
    filter_seen: bool,
) -> tuple[list[RankedItems], TargetRanks]:
    """Turn each user's ranked semantic IDs into a list of items, and find the target in it.

    Items that share a semantic ID stand in the catalogue's order in the list. For the target's rank they are one tie.

    Args:
        ranking: The ranked semantic IDs of U users.
        trie: All semantic IDs of the catalogue.
        entries: History and target of the U users.
        row_of: Catalogue row of each item id.
        limit: Length of the lists.
        filter_seen: Leave out the items of the user's own history.

    Returns:
        U lists, and the targets' ranks. A target that has none of the ranked semantic IDs gets ``ahead`` = -1. A target
        may rank beyond ``limit``.
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
        lists.append(first_items(groups, limit))
    return lists, TargetRanks(ahead, ties)


def as_array(lists: Sequence[RankedItems], k: int) -> npt.NDArray[np.int64]:
    """Put lists into a (U, k) array of catalogue rows; a list shorter than ``k`` is filled up with -1."""
    array = np.full((len(lists), k), -1, dtype=np.int64)
    for user, items in enumerate(lists):
        array[user, : len(items.rows)] = items.rows
    return array


def write_lists(
    folder: Path, column: str, owners: Sequence[str], lists: Sequence[RankedItems], item_ids: Sequence[str]
) -> None:
    """Write ``recommendations.parquet``, one row for each recommended item.

    Args:
        folder: Folder of the evaluation.
        column: Name of the first column: ``user_id`` or ``query_id``.
        owners: User or query of each list.
        lists: The recommended items of each owner, best first.
        item_ids: Item id of each catalogue row.
    """
    lengths = [len(items.rows) for items in lists]
    tables.write(
        folder / "recommendations.parquet",
        {
            column: [owner for owner, length in zip(owners, lengths, strict=True) for _ in range(length)],
            "rank": np.concatenate([np.arange(1, length + 1, dtype=np.int32) for length in lengths]),
            "item_id": [item_ids[row] for items in lists for row in items.rows],
            "score": np.asarray([score for items in lists for score in items.scores], dtype=np.float32),
        },
    )
