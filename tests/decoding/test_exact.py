"""Exact search against scoring every item with a forward pass of its own, also where the beam misses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.decoding import exact
from gti_cli.decoding.beam import Ranking, TrieTensors, beam_search
from gti_cli.decoding.exact import exact_search
from gti_cli.decoding.trie import build_trie
from tests.support.decoding import CPU, PAD, VOCAB, case, every_score, token_ids
from tests.support.models import make_model


@pytest.mark.parametrize("kind", ["qwen3", "llama", "gpt2", "gemma", "bloom"])
def test_equals_brute_force_where_the_beam_does_not(kind: str) -> None:
    codes, prompts = case(5, items=60, levels=3, prompts=4)
    model, trie, ids = make_model(kind, VOCAB, seed=4), build_trie(codes), token_ids(3)
    tensors = TrieTensors(trie, ids, CPU)
    missed = 0
    for k in (1, 2, 3, 10):
        beam = beam_search(model, prompts, tensors, k, PAD)
        found = exact_search(model, prompts, tensors, beam, k)
        for row, prompt in enumerate(prompts):
            expected = every_score(model, prompt, trie, ids)
            order = np.argsort(-expected, kind="stable")[:k]
            np.testing.assert_array_equal(found.ranking.leaves[row], order)
            np.testing.assert_allclose(found.ranking.scores[row], expected[order], atol=1e-4)
            assert found.missed[row] == len(set(order.tolist()) - set(beam.leaves[row].tolist()))
        missed += int(found.missed.sum())
    assert missed > 0  # or this test shows nothing that the beam's own tests do not show


@settings(max_examples=15)
@given(
    seed=st.integers(0, 99),
    items=st.integers(1, 40),
    levels=st.integers(1, 4),
    k=st.integers(1, 12),
    rows=st.integers(1, 9),
    batch_size=st.integers(1, 4),
)
def test_any_shape(seed: int, items: int, levels: int, k: int, rows: int, batch_size: int) -> None:
    codes, prompts = case(seed, items=items, levels=levels, prompts=4)
    model, trie, ids = make_model(vocab_size=VOCAB, seed=seed), build_trie(codes), token_ids(levels)
    tensors = TrieTensors(trie, ids, CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "TREE_PREFIXES", rows)  # the split into forward passes and batches changes nothing
        beam = beam_search(model, prompts, tensors, k, PAD)
        found = exact_search(model, prompts, tensors, beam, k, pad_id=PAD, batch_size=batch_size)
    for row, prompt in enumerate(prompts):
        expected = every_score(model, prompt, trie, ids)
        length = min(k, trie.leaves)
        order = np.argsort(-expected, kind="stable")[:length]
        np.testing.assert_allclose(expected[found.ranking.leaves[row, :length]], expected[order], atol=1e-4)
        assert len(set(found.ranking.leaves[row, :length].tolist())) == length
        assert (found.ranking.leaves[row, length:] == -1).all()
        assert np.isneginf(found.ranking.scores[row, length:]).all()


@pytest.mark.parametrize("excess", [0.5, 50.0])
def test_a_bound_that_is_too_high_is_lowered(excess: float) -> None:
    codes, prompts = case(6, items=30, levels=3, prompts=1)
    model, trie, ids = make_model(vocab_size=VOCAB), build_trie(codes), token_ids(3)
    tensors = TrieTensors(trie, ids, CPU)
    beam = beam_search(model, prompts, tensors, 8, PAD)
    optimistic = Ranking(beam.leaves, beam.scores + excess, beam.dropped)
    found = exact_search(model, prompts, tensors, optimistic, 8)
    order = np.argsort(-every_score(model, prompts[0], trie, ids))[:8]
    np.testing.assert_array_equal(found.ranking.leaves[0], order)


def test_less_is_computed_than_there_is() -> None:
    codes, prompts = case(7, items=150, levels=3, prompts=3)
    model, trie, ids = make_model(vocab_size=VOCAB), build_trie(codes), token_ids(3)
    tensors = TrieTensors(trie, ids, CPU)
    found = exact_search(model, prompts, tensors, beam_search(model, prompts, tensors, 3, PAD), 3)
    prefixes = sum(len(starts) - 1 for starts in trie.starts)
    assert (found.followed < prefixes).all()


@pytest.mark.parametrize("batch_size", [1, 32])
def test_beyond_the_limit_a_prompt_keeps_the_list_of_the_beam(batch_size: int) -> None:
    codes, prompts = case(7, items=150, levels=3, prompts=6)
    model, trie, ids = make_model(vocab_size=VOCAB, seed=4), build_trie(codes), token_ids(3)
    tensors = TrieTensors(trie, ids, CPU)
    beam = beam_search(model, prompts, tensors, 3, PAD)
    free = exact_search(model, prompts, tensors, beam, 3)
    limit = int(np.median(free.followed))
    found = exact_search(model, prompts, tensors, beam, 3, limit=limit, batch_size=batch_size)
    # Which prompts stop depends on what they need, not on who is in the batch.
    stops = free.followed > limit
    assert 0 < stops.sum() < len(prompts)
    np.testing.assert_array_equal(found.ranking.leaves[stops], beam.leaves[stops])
    np.testing.assert_array_equal(found.ranking.leaves[~stops], free.ranking.leaves[~stops])
    np.testing.assert_array_equal(found.ranking.dropped, np.where(stops, beam.dropped, -np.inf))


def test_too_short_a_beam_is_refused() -> None:
    codes, prompts = case(8, items=9, levels=2, prompts=1)
    model, tensors = make_model(vocab_size=VOCAB), TrieTensors(build_trie(codes), token_ids(2), CPU)
    with pytest.raises(ValueError, match="fewer than k"):
        exact_search(model, prompts, tensors, beam_search(model, prompts, tensors, 2, PAD), 3)
