"""Beam search against Hugging Face's constrained ``generate`` and against scoring every item."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.decoding.beam import TrieTensors, beam_search, stable_topk
from gti_cli.decoding.trie import Trie, build_trie
from gti_cli.errors import InputError
from tests.support.decoding import CPU, PAD, VOCAB, case, every_score, prefix_scores, token_ids
from tests.support.models import make_model
from tests.support.two_devices import DEVICE, TwoDevices

UNEVEN = np.asarray([[0, 0, 0], [0, 1, 0], [1, 0, 0], [2, 0, 0]], dtype=np.int32)  # three nodes have 2, 1, 1 children


@pytest.mark.parametrize("codes", [UNEVEN, *(case(4, items=items, levels=3, prompts=1)[0] for items in (1, 9, 400))])
def test_children_are_the_tries(codes: np.ndarray) -> None:
    trie, ids = build_trie(codes), token_ids(3)
    tensors = TrieTensors(trie, ids, CPU)
    for level, (starts, labels) in enumerate(zip(trie.starts, trie.codes, strict=True)):
        tokens, first = tensors.children(level, torch.arange(len(starts) - 1))
        inside = torch.isfinite(tensors.mask(level, torch.arange(len(starts) - 1), torch.zeros(tokens.shape)))
        for node, (start, end) in enumerate(itertools.pairwise(starts)):
            assert tokens[node][inside[node]].tolist() == ids[level][labels[start:end]].tolist()
            assert (int(first[node]), int(inside[node].sum())) == (start, end - start)
    elsewhere = TrieTensors(trie, ids, torch.device("meta"))
    assert all(tensor.is_meta for tensor in (*elsewhere.starts, *elsewhere.tokens))


@pytest.mark.parametrize("kind", ["qwen3", "llama", "mistral", "gemma2", "gpt2", "opt", "bloom"])
@pytest.mark.parametrize("shared", [0, 4])
def test_wide_beam_is_the_exact_ranking(kind: str, shared: int) -> None:
    codes, prompts = case(1, items=25, levels=3, prompts=3, shared=shared)
    model, trie, ids = make_model(kind, VOCAB, seed=3), build_trie(codes), token_ids(3)
    found = beam_search(model, prompts, TrieTensors(trie, ids, CPU), 40, PAD)
    for row, prompt in enumerate(prompts):
        expected = every_score(model, prompt, trie, ids)
        order = np.argsort(-expected)
        np.testing.assert_array_equal(found.leaves[row, : trie.leaves], order)
        np.testing.assert_allclose(found.scores[row, : trie.leaves], expected[order], atol=1e-4)
        assert (found.leaves[row, trie.leaves :] == -1).all()
        assert np.isneginf(found.scores[row, trie.leaves :]).all()


def test_ids_that_score_as_much_as_what_was_dropped_are_the_best() -> None:
    codes, prompts = case(5, items=60, levels=3, prompts=8)
    model, trie, ids = make_model(vocab_size=VOCAB, seed=4), build_trie(codes), token_ids(3)
    tensors, proven, missed = TrieTensors(trie, ids, CPU), 0, 0
    every = [every_score(model, prompt, trie, ids) for prompt in prompts]
    for beams in (1, 4, 16, 30, 100):
        found = beam_search(model, prompts, tensors, beams, PAD)
        for row, scores in enumerate(every):
            best = np.argsort(-scores, kind="stable")[:beams]
            certain = int((found.scores[row, : len(best)] >= found.dropped[row]).sum())
            np.testing.assert_array_equal(found.leaves[row, :certain], best[:certain])
            proven += certain if np.isfinite(found.dropped[row]) else 0
            missed += int((found.leaves[row, : len(best)] != best).any())
        if beams == 100:  # Nothing was dropped.
            assert np.isneginf(found.dropped).all()
    assert proven > 0 and missed > 0  # or the bound proves nothing, or nothing was to be proven


@pytest.mark.parametrize("kind", ["qwen3", "gpt2"])
def test_the_beam_and_the_best_prefix_that_it_left_out_by_brute_force(kind: str) -> None:
    codes, prompts = case(6, items=60, levels=3, prompts=2)
    model, trie, ids = make_model(kind, VOCAB, seed=4), build_trie(codes), token_ids(3)
    tensors = TrieTensors(trie, ids, CPU)
    every = [prefix_scores(model, prompt, trie, ids) for prompt in prompts]
    for beams in (1, 3, len(trie.codes[0]), 8, 30):
        found = beam_search(model, prompts, tensors, beams, PAD)
        for row, scores in enumerate(every):
            kept: list[tuple[int, ...]] = [()]
            dropped = -np.inf
            for length in range(1, 4):
                below = [prefix for prefix in scores[length] if prefix[:-1] in kept]
                kept = sorted(below, key=scores[length].__getitem__, reverse=True)
                if length < 3:  # what is left out of the last level is no prefix
                    dropped = max([dropped, *(scores[length][prefix] for prefix in kept[beams:])])
                kept = kept[:beams]
            assert [tuple(trie.leaf_codes[leaf]) for leaf in found.leaves[row] if leaf >= 0] == kept
            expected = [scores[3][prefix] for prefix in kept] + [-np.inf] * (beams - len(kept))
            np.testing.assert_allclose(found.scores[row], expected, atol=1e-4)
            np.testing.assert_allclose(found.dropped[row], dropped, atol=1e-4)


def test_of_equally_likely_ids_the_first_are_found() -> None:
    codes, prompts = case(3, items=40, levels=3, prompts=2)
    model, trie, ids = make_model(vocab_size=VOCAB), build_trie(codes), token_ids(3)
    model.get_output_embeddings().weight.data.zero_()
    found = beam_search(model, prompts, TrieTensors(trie, ids, CPU), 5, PAD)
    assert found.leaves.tolist() == [[0, 1, 2, 3, 4]] * 2
    np.testing.assert_allclose(found.scores, -3 * np.log(VOCAB), rtol=1e-5)


@pytest.mark.parametrize("kind", ["qwen3", "bloom"])
def test_a_gpu_finds_the_same(kind: str) -> None:
    codes, prompts = case(5, items=60, levels=3, prompts=3)
    model, trie, ids = make_model(kind, VOCAB, seed=4), build_trie(codes), token_ids(3)
    expected = beam_search(model, prompts, TrieTensors(trie, ids, CPU), 4, PAD)
    with TwoDevices():
        found = beam_search(model, prompts, TrieTensors(trie, ids, DEVICE), 4, PAD)
    np.testing.assert_array_equal(found.leaves, expected.leaves)


@torch.inference_mode()
def by_generate(model: Any, prompts: list[list[int]], trie: Trie, ids: list[np.ndarray], beams: int) -> list[Any]:
    """(tokens, score) lists from ``generate`` with ``prefix_allowed_tokens_fn``."""
    allowed: dict[tuple[int, ...], set[int]] = {}
    for codes in trie.leaf_codes:
        answer = [int(ids[level][code]) for level, code in enumerate(codes)]
        for length in range(trie.levels):
            allowed.setdefault(tuple(answer[:length]), set()).add(answer[length])
    longest = max(map(len, prompts))
    padded = torch.tensor([[PAD] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    out = model.generate(
        padded,
        attention_mask=mask,
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=trie.levels,
        min_new_tokens=trie.levels,
        do_sample=False,
        length_penalty=0.0,
        eos_token_id=None,
        pad_token_id=PAD,
        return_dict_in_generate=True,
        output_scores=True,
        # Of hypotheses that are forbidden already, where there are more beams than items, anything may follow.
        prefix_allowed_tokens_fn=lambda _, sequence: sorted(allowed.get(tuple(sequence[longest:].tolist()), {PAD})),
    )
    tokens = out.sequences[:, longest:].view(len(prompts), beams, -1).tolist()
    return list(zip(tokens, out.sequences_scores.view(len(prompts), beams).tolist(), strict=True))


@pytest.mark.parametrize("kind", ["qwen3", "llama", "gpt2", "bloom"])
@pytest.mark.parametrize("together", [True, False], ids=["padded", "alone"])
@pytest.mark.parametrize(
    ("items", "levels", "beams"), [(60, 3, 5), (60, 2, 20), (200, 3, 2), (90, 4, 8), (4, 3, 10), (1, 3, 2), (1, 1, 2)]
)
def test_same_lists_and_scores_as_generate(kind: str, together: bool, items: int, levels: int, beams: int) -> None:
    seed = items + levels + beams
    codes, prompts = case(seed, items=items, levels=levels, prompts=4, shared=seed % 4)
    codes = np.vstack([codes, codes[: items // 4 + 1]])  # some items share a semantic ID: no ID may come twice
    model, trie, ids = make_model(kind, VOCAB, seed=seed), build_trie(codes), token_ids(levels)
    found = beam_search(model, prompts, TrieTensors(trie, ids, CPU), beams, PAD)
    batches = [prompts] if together else [[prompt] for prompt in prompts]
    expected = [entry for batch in batches for entry in by_generate(model, batch, trie, ids, beams)]
    for row, (tokens, scores) in enumerate(expected):
        mine = [
            [int(ids[level][code]) for level, code in enumerate(trie.leaf_codes[leaf])]
            for leaf in found.leaves[row]
            if leaf >= 0
        ]
        there = np.isfinite(scores) & (np.asarray(scores) > -1e8)  # generate fills up with forbidden ones
        assert len(mine) == there.sum() == min(beams, trie.leaves)
        assert mine == [answer for answer, kept in zip(tokens, there, strict=True) if kept]
        np.testing.assert_allclose(found.scores[row, : len(mine)], np.asarray(scores)[there], atol=1e-4)


@pytest.mark.parametrize(("items", "levels", "prompts"), [(1, 3, 2), (1, 1, 1), (7, 1, 3), (12, 4, 1)])
def test_corners(items: int, levels: int, prompts: int) -> None:
    codes, searched = case(5, items, levels, prompts)
    codes = np.vstack([codes, codes[:1]])  # two items share a semantic ID: one leaf
    model, trie, ids = make_model(vocab_size=VOCAB), build_trie(codes), token_ids(levels)
    found = beam_search(model, searched, TrieTensors(trie, ids, CPU), 30, PAD)
    assert found.leaves.shape == (prompts, 30)
    for row in found.leaves:
        kept = row[row >= 0]
        assert len(kept) == trie.leaves == len(set(kept.tolist()))


def test_identical_prompts_and_batching_change_nothing() -> None:
    codes, prompts = case(2, items=50, levels=3, prompts=5)
    model, trie, ids = make_model(vocab_size=VOCAB), build_trie(codes), token_ids(3)
    tensors = TrieTensors(trie, ids, CPU)
    together = beam_search(model, [*prompts, prompts[0], prompts[0]], tensors, 6, PAD)
    for row, prompt in enumerate(prompts):
        alone = beam_search(model, [prompt], tensors, 6, PAD)
        np.testing.assert_array_equal(alone.leaves[0], together.leaves[row])
        np.testing.assert_allclose(alone.scores[0], together.scores[row], atol=1e-4)
    np.testing.assert_array_equal(together.leaves[0], together.leaves[-1])


@given(st.lists(st.lists(st.sampled_from([-np.inf, 0.0, 1.0, 2.0]), min_size=6, max_size=6), min_size=1, max_size=4))
def test_the_largest_values_in_a_stable_order(rows: list[list[float]]) -> None:
    for k in (1, 3, 6, 9):
        scores = torch.tensor(rows)
        with TwoDevices():
            values, columns = stable_topk(scores, k)
        for row, of_row in enumerate(rows):
            order = sorted(range(6), key=lambda column: -of_row[column])[:k]
            assert columns[row].tolist() == order
            assert values[row].tolist() == [of_row[column] for column in order]


@pytest.mark.parametrize("prompts", [1, 3])
def test_a_model_that_computes_no_numbers_is_refused(prompts: int) -> None:
    codes, asked = case(1, items=25, levels=3, prompts=prompts)
    model, trie = make_model(vocab_size=VOCAB, seed=3), build_trie(codes)
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
    with pytest.raises(InputError, match="scores that are no numbers"):
        beam_search(model, asked, TrieTensors(trie, token_ids(3), CPU), 5, PAD)
    with pytest.raises(InputError, match="scores that are no numbers"):  # among others that are numbers
        stable_topk(torch.tensor([[1.0, 2.0, 3.0], [1.0, torch.nan, 3.0]]), 2)
