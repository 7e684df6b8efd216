"""From ranked semantic IDs to lists of items: against a loop over every user's catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.decoding.beam import Ranking
from gti_cli.decoding.ranked_items import ItemLists, RankedItems
from gti_cli.decoding.trie import build_trie
from gti_cli.evaluation.recommended_lists import recommend_items, write_lists
from gti_cli.tables.histories import History

ITEMS = 12
ROW_OF = {f"i{row}": row for row in range(ITEMS)}


@given(seed=st.integers(0, 999), width=st.integers(1, 9), limit=st.integers(1, ITEMS), filter_seen=st.booleans())
def test_lists_and_target_ranks(seed: int, width: int, limit: int, filter_seen: bool) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, (ITEMS, 2)).astype(np.int32)  # nine semantic IDs at most: several are shared
    trie = build_trie(codes)
    users = 4
    leaves = np.full((users, width), -1, dtype=np.int64)
    scores = np.full((users, width), -np.inf, dtype=np.float32)
    entries = []
    for user in range(users):
        found = rng.permutation(trie.leaves)[:width]
        leaves[user, : len(found)] = found
        scores[user, : len(found)] = -np.sort(rng.random(len(found)))
        history = [f"i{row}" for row in rng.integers(0, ITEMS, 3)]
        entries.append(History(f"u{user}", history, f"i{rng.integers(ITEMS)}"))
    ranking = Ranking(leaves, scores, np.full(len(leaves), -np.inf, dtype=np.float32))
    lists, ranks = recommend_items(ranking, trie, entries, ROW_OF, limit=limit, filter_seen=filter_seen)
    for user, entry in enumerate(entries):
        hidden = {ROW_OF[item] for item in entry.items} if filter_seen else set()
        ordered = [  # (place of the semantic ID, row), for every item whose semantic ID was found
            (place, row)
            for place, leaf in enumerate(leaves[user])
            for row in range(ITEMS)
            if leaf >= 0 and row not in hidden and (codes[row] == trie.leaf_codes[leaf]).all()
        ]
        assert lists[user].rows == [row for _, row in ordered][:limit]
        assert lists[user].scores == [float(scores[user, place]) for place, _ in ordered][:limit]
        own = [place for place, row in ordered if row == ROW_OF[entry.target]]
        if not own:
            assert ranks.ahead[user] == -1
            continue
        assert ranks.ahead[user] == sum(place < own[0] for place, _ in ordered)
        assert ranks.ties[user] == sum(place == own[0] for place, _ in ordered)


def test_the_file_has_one_row_for_each_item(tmp_path: Path) -> None:
    lists = ItemLists.of([RankedItems([1, 0], [-0.5, -1.0]), RankedItems([], []), RankedItems([1], [-2.0])])
    write_lists(tmp_path, "query_id", ["a", "b", "c"], lists, ["first", "second"])
    assert pq.read_table(tmp_path / "recommendations.parquet").to_pylist() == [
        {"query_id": "a", "rank": 1, "item_id": "second", "score": -0.5},
        {"query_id": "a", "rank": 2, "item_id": "first", "score": -1.0},
        {"query_id": "c", "rank": 1, "item_id": "second", "score": -2.0},
    ]
