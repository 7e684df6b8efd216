"""Items of ranked semantic IDs against a loop over the catalogue."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.decoding import ranked_items
from gti_cli.decoding.beam import Ranking
from gti_cli.decoding.constraints.allowed_nodes import AllowedItems, ItemChoice
from gti_cli.decoding.ranked_items import ItemLists, RankedItems, first_items, first_of_each, item_groups
from gti_cli.decoding.trie import build_trie
from gti_cli.tables.arrays.row_lists import RowLists


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


@pytest.mark.parametrize("at_once", [2, 100])
def test_lists_of_many_prompts_are_those_of_each(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranked_items, "PROMPTS_AT_ONCE", at_once)
    rng, prompts = np.random.default_rng(3), 7
    codes = rng.integers(0, 3, (20, 2)).astype(np.int32)
    trie = build_trie(codes)
    leaves = np.stack([rng.permutation(trie.leaves)[:6] for _ in range(prompts)])
    leaves[rng.random(leaves.shape) < 0.2] = -1
    leaves[4] = -1
    ranking = Ranking(leaves, rng.random(leaves.shape).astype(np.float32), np.zeros(prompts, dtype=np.float32))
    hidden = [set(rng.integers(0, 20, count).tolist()) for count in (3, 0, 5, 1, 2, 0, 9)]
    choices = [ItemChoice.of_mask(rng.random(20) < share) for share in (0.5, 0.9, 0.0)]
    for allowed in (
        None,
        AllowedItems(choices[:1], np.zeros(prompts, dtype=np.int64)),
        AllowedItems(choices, np.asarray([0, 1, 2, 0, 1, 1, 0])),
    ):
        found = first_of_each(ranking, trie, 4, RowLists.of(hidden), allowed)
        expected = [
            first_items(item_groups(ranking, trie, prompt, hidden[prompt], allowed.of(prompt) if allowed else None), 4)
            for prompt in range(prompts)
        ]
        assert list(found) == expected and len(found) == prompts
        assert list(found[2:5]) == expected[2:5] and found[-1] == expected[-1]


def test_lists_as_arrays() -> None:
    lists = [RankedItems([3, 1], [-0.5, -1.0]), RankedItems([], []), RankedItems([2, 0, 1], [-1.0, -2.0, -3.0])]
    found = ItemLists.of(lists)
    assert list(found) == lists and found.lengths.tolist() == [2, 0, 3]
    assert found.table(3).tolist() == [[3, 1, -1], [-1, -1, -1], [2, 0, 1]]
    assert (found.places().tolist(), found.owners().tolist()) == ([0, 1, 0, 1, 2], [0, 0, 2, 2, 2])
    assert list(ItemLists.of_table(found.table(4), np.asarray([[-0.5, -1, 0, 0], [0] * 4, [-1, -2, -3, 0]]))) == lists
    assert list(ItemLists.joined([found[:1], found[1:]])) == lists and len(ItemLists.joined([])) == 0
