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
from tests.support.decoding import CPU, PAD, VOCAB, case, every_score, prefix_scores, token_ids
from tests.support.models import make_model
from tests.support.two_devices import DEVICE, TwoDevices


@pytest.mark.parametrize("kind", ["qwen3", "llama", "gpt2", "gemma", "bloom"])
def test_equals_brute_force_where_the_beam_does_not(kind: str) -> None:
    codes, prompts = case(5, items=60, levels=3, prompts=4)
    model, trie, ids = make_model(kind, VOCAB, seed=4), build_trie(codes), token_ids(3)
    tensors = TrieTensors(trie, ids, CPU)
    every = [every_score(model, prompt, trie, ids) for prompt in prompts]
    missed = 0
    for k in (1, 2, 3, 10):
        beam = beam_search(model, prompts, tensors, k, PAD)
        found = exact_search(model, prompts, tensors, beam, k)
        for row, expected in enumerate(every):
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


def test_a_list_longer_than_the_catalogue_ends_without_items() -> None:
    codes = np.asarray([[0, 0], [0, 1], [1, 0]])  # the second code of level 1 has one child less than the first
    _, prompts = case(0, items=3, levels=2, prompts=2)
    model, trie, ids = make_model(vocab_size=VOCAB), build_trie(codes), token_ids(2)
    tensors = TrieTensors(trie, ids, CPU)
    found = exact_search(model, prompts, tensors, beam_search(model, prompts, tensors, 5, PAD), 5, pad_id=PAD).ranking
    for row, prompt in enumerate(prompts):
        order = np.argsort(-every_score(model, prompt, trie, ids), kind="stable")
        assert found.leaves[row].tolist() == [*order.tolist(), -1, -1]
        assert np.isneginf(found.scores[row]).tolist() == [False] * 3 + [True] * 2


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
    # The prefixes of all searches are counted. The root is followed whatever the bound is.
    *prefixes, leaves = prefix_scores(model, prompts[0], trie, ids)
    bound, expected, enough = float(optimistic.scores[0, -1]) - exact._SLACK, 0, False
    while not enough:
        expected += 1 + sum(score >= bound for level in prefixes[1:] for score in level.values())
        enough = sum(score >= bound for score in leaves.values()) >= 8
        bound = optimistic.scores[0, -1] - 4 * (optimistic.scores[0, -1] - bound)
    assert found.followed.tolist() == [expected]


def test_less_is_computed_than_there_is() -> None:
    codes, prompts = case(7, items=150, levels=3, prompts=3)
    model, trie, ids = make_model(vocab_size=VOCAB), build_trie(codes), token_ids(3)
    tensors = TrieTensors(trie, ids, CPU)
    found = exact_search(model, prompts, tensors, beam_search(model, prompts, tensors, 3, PAD), 3)
    prefixes = sum(len(starts) - 1 for starts in trie.starts)
    assert (found.followed < prefixes).all()


@pytest.mark.parametrize("at_once", [2, 1024])
def test_the_prefixes_at_or_above_the_bound_are_followed_and_no_others(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "TREE_PREFIXES", at_once)
    codes, prompts = case(7, items=80, levels=3, prompts=3)
    model, trie, ids = make_model(vocab_size=VOCAB, seed=4), build_trie(codes), token_ids(3)
    tensors = TrieTensors(trie, ids, CPU)
    beam = beam_search(model, prompts, tensors, 3, PAD)
    found = exact_search(model, prompts, tensors, beam, 3)
    for row, prompt in enumerate(prompts):
        scores = prefix_scores(model, prompt, trie, ids)[:-1]  # the model is not run over complete IDs
        assert found.followed[row] == sum(value >= beam.scores[row, 2] for level in scores for value in level.values())
        # A limit of just as many does not stop the search; one less does.
        alone = Ranking(beam.leaves[[row]], beam.scores[[row]], beam.dropped[[row]])
        for limit, is_exact in ((found.followed[row], True), (found.followed[row] - 1, False)):
            limited = exact_search(model, [prompt], tensors, alone, 3, limit=int(limit)).ranking
            np.testing.assert_array_equal(limited.leaves[0], (found.ranking if is_exact else beam).leaves[row])
            assert np.isneginf(limited.dropped[0]) == is_exact


def test_of_equally_likely_ids_the_first_are_found() -> None:
    codes, prompts = case(3, items=40, levels=3, prompts=2)
    model, trie, ids = make_model(vocab_size=VOCAB), build_trie(codes), token_ids(3)
    model.get_output_embeddings().weight.data.zero_()
    tensors = TrieTensors(trie, ids, CPU)
    beam = beam_search(model, prompts, tensors, 5, PAD)
    last = Ranking(np.arange(trie.leaves)[None, :-6:-1].repeat(2, axis=0), beam.scores, beam.dropped)
    found = exact_search(model, prompts, tensors, last, 5)
    assert found.ranking.leaves.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert found.missed.tolist() == [5, 5]
    assert found.ranking.scores.dtype == found.ranking.dropped.dtype == np.float32
    assert found.followed.dtype == np.int64


@pytest.mark.parametrize("kind", ["qwen3", "bloom"])
def test_a_gpu_finds_the_same(kind: str) -> None:
    codes, prompts = case(5, items=60, levels=3, prompts=4)
    model, trie, ids = make_model(kind, VOCAB, seed=4), build_trie(codes), token_ids(3)
    tensors = TrieTensors(trie, ids, CPU)
    beam = beam_search(model, prompts, tensors, 3, PAD)
    limit = 20
    expected = exact_search(model, prompts, tensors, beam, 3, limit=limit)
    with TwoDevices():
        found = exact_search(model, prompts, TrieTensors(trie, ids, DEVICE), beam, 3, limit=limit)
    np.testing.assert_array_equal(found.ranking.leaves, expected.ranking.leaves)
    np.testing.assert_array_equal(found.followed, expected.followed)


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
