"""Lists of recommended items: made from ranked semantic IDs, as an array for the metrics, and as a file.

`gti_cli.decoding.search_parts` comes before: it returns the ranked semantic IDs. `gti_cli.decoding.ranked_items` looks
up the items of one semantic ID. `gti_cli.metrics` comes after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.decoding.beam import Ranking
from gti_cli.decoding.ranked_items import PROMPTS_AT_ONCE, ItemLists, ranked_entries
from gti_cli.decoding.trie import Trie
from gti_cli.metrics.ranking import TargetRanks, join_ranks
from gti_cli.tables.arrays.names import Names
from gti_cli.tables.arrays.row_lists import RowLists
from gti_cli.tables.arrays.targets import History, Targets

if TYPE_CHECKING:
    import pyarrow as pa

_LINES_AT_ONCE = 1 << 20  # as many as Arrow puts into a group of rows, so that the file is that of one piece


def recommend_items(
    ranking: Ranking,
    trie: Trie,
    entries: Sequence[History],
    row_of: Mapping[str, int],
    *,
    limit: int,
    filter_seen: bool,
) -> tuple[ItemLists, TargetRanks]:
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
    targets = Targets.of(entries)
    seen, target_rows = targets.histories(row_of) if filter_seen else None, targets.rows(row_of)
    lists: list[ItemLists] = []
    ranks: list[TargetRanks] = []
    for start in range(0, len(targets), PROMPTS_AT_ONCE):
        some = slice(start, start + PROMPTS_AT_ONCE)
        part = Ranking(ranking.leaves[some], ranking.scores[some], ranking.dropped[some])
        part_lists, part_ranks = _lists_and_ranks(part, trie, target_rows[some], seen, start, limit)
        lists.append(part_lists)
        ranks.append(part_ranks)
    return ItemLists.joined(lists), join_ranks(ranks)


def _lists_and_ranks(
    ranking: Ranking, trie: Trie, targets: npt.NDArray[np.int64], seen: RowLists | None, start: int, limit: int
) -> tuple[ItemLists, TargetRanks]:
    """`recommend_items` for U users, of whom the first has the number ``start`` in ``seen``."""
    users, width = len(targets), ranking.leaves.shape[1]
    found = ranked_entries(ranking, trie, seen, start=start)
    # Users, and the places of semantic IDs in their rankings, as one rising number.
    groups = found.owners * width + found.places
    is_target = found.rows == targets[found.owners]
    owners, own = found.owners[is_target], groups[is_target]
    first, end = (np.searchsorted(groups, own, side=side) for side in ("left", "right"))
    ahead, ties = np.full(users, -1, dtype=np.int64), np.ones(users, dtype=np.int64)
    ahead[owners] = first - np.searchsorted(found.owners, owners)
    ties[owners] = end - first
    return ItemLists.first(found.owners, found.rows, found.scores, users, limit), TargetRanks(ahead, ties)


def write_lists(folder: Path, column: str, owners: Sequence[str], lists: ItemLists, item_ids: Sequence[str]) -> None:
    """Write ``recommendations.parquet``, one row for each recommended item.

    Args:
        folder: Folder of the evaluation.
        column: Name of the first column: ``user_id`` or ``query_id``.
        owners: User or query of each list.
        lists: The recommended items of each owner, best first.
        item_ids: Item id of each catalogue row.
    """
    owner_names, item_names = Names.of(owners), Names.of(item_ids)

    def parts() -> Iterator[dict[str, Any]]:
        """The lines of the file, some at a time."""
        for start in range(0, max(len(lists.rows), 1), _LINES_AT_ONCE):
            lines = np.arange(start, min(start + _LINES_AT_ONCE, len(lists.rows)))
            numbers = np.searchsorted(lists.offsets, lines, side="right") - 1
            yield {
                column: as_strings(owner_names.take(numbers)),
                "rank": (lines - lists.offsets[numbers] + 1).astype(np.int32),
                "item_id": as_strings(item_names.take(lists.rows[lines])),
                "score": lists.scores[lines].astype(np.float32),
            }

    tables.write_parts(folder / "recommendations.parquet", parts())


def as_strings(names: Names) -> pa.Array:
    """Ids as the type of strings that all files of an evaluation have."""
    import pyarrow as pa

    return names.array.cast(pa.string())
