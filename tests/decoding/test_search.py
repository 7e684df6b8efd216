"""Batches of prompts against single prompts, and items of ranked semantic IDs against a loop over the catalogue."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.decoding.beam import Ranking, TrieTensors, beam_search
from gti_cli.decoding.search import first_items, item_groups, search_all
from gti_cli.decoding.trie import build_trie
from tests.support.decoding import CPU, PAD, VOCAB, case, token_ids
from tests.support.models import make_model


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_all_prompts_are_searched_in_their_order(batch_size: int) -> None:
    codes, prompts = case(3, items=40, levels=3, prompts=7)
    model, tensors = make_model(vocab_size=VOCAB), TrieTensors(build_trie(codes), token_ids(3), CPU)
    found = search_all(model, prompts, tensors, 5, pad_id=PAD, batch_size=batch_size, description="Searching")
    assert found.leaves.shape == found.scores.shape == (7, 5)
    for row, prompt in enumerate(prompts):
        alone = beam_search(model, [prompt], tensors, 5, PAD)
        np.testing.assert_array_equal(found.leaves[row], alone.leaves[0])
        np.testing.assert_allclose(found.scores[row], alone.scores[0], atol=1e-4)


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
    groups = item_groups(Ranking(leaves, scores), trie, 1, seen)
    expected = [
        ([row for row, code in enumerate(codes) if code == tuple(trie.leaf_codes[leaf]) and row not in seen], place)
        for place, leaf in enumerate(order)
    ]
    assert groups == [(rows, float(scores[1, place])) for rows, place in expected]
    assert item_groups(Ranking(leaves, scores), trie, 0) == []
    best = first_items(groups, limit)
    pairs = [(row, float(scores[1, place])) for rows, place in expected for row in rows][:limit]
    assert list(zip(best.rows, best.scores, strict=True)) == pairs
