"""Items of ranked semantic IDs against a loop over the catalogue."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.decoding.beam import Ranking
from gti_cli.decoding.constraints.allowed_nodes import ItemChoice
from gti_cli.decoding.ranked_items import first_items, item_groups
from gti_cli.decoding.trie import build_trie


@given(
    codes=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=12),
    seed=st.integers(0, 99),
    seen=st.sets(st.integers(0, 11)),
    limit=st.integers(1, 15),
)
def test_items_of_ranked_semantic_ids(codes: list[tuple[int, int]], seed: int, seen: set[int], limit: int) -> None:
    trie = build_trie(np.asarray(codes, dtype=np.int32))
    rng = np.random.default_rng(seed)
    order = rng.permutation(trie.leaves)
    leaves = np.full((2, trie.leaves + 2), -1, dtype=np.int64)  # two places are empty
    leaves[1, : len(order)] = order
    scores = np.sort(rng.random(leaves.shape).astype(np.float32), axis=1)[:, ::-1]
    groups = item_groups(Ranking(leaves, scores, np.full(len(leaves), -np.inf, dtype=np.float32)), trie, 1, seen)
    expected = [
        ([row for row, code in enumerate(codes) if code == tuple(trie.leaf_codes[leaf]) and row not in seen], place)
        for place, leaf in enumerate(order)
    ]
    assert groups == [(rows, float(scores[1, place])) for rows, place in expected]
    assert item_groups(Ranking(leaves, scores, np.full(len(leaves), -np.inf, dtype=np.float32)), trie, 0) == []
    allowed = rng.random(len(codes)) < 0.5
    ranking = Ranking(leaves, scores, np.full(len(leaves), -np.inf, dtype=np.float32))
    assert item_groups(ranking, trie, 1, seen, ItemChoice.of_mask(allowed)) == [
        ([row for row in rows if allowed[row]], score) for rows, score in groups
    ]
    best = first_items(groups, limit)
    pairs = [(row, float(scores[1, place])) for rows, place in expected for row in rows][:limit]
    assert list(zip(best.rows, best.scores, strict=True)) == pairs
