"""Scores of given items against a forward pass for each of them, and against the searches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.decoding import candidate_scores
from gti_cli.decoding.architecture_probe import make_runner
from gti_cli.decoding.beam import TrieTensors, beam_search
from gti_cli.decoding.candidate_scores import CandidateLists, score_items
from gti_cli.decoding.exact import exact_search
from gti_cli.decoding.runner import Abilities, Runner
from gti_cli.decoding.trie import Trie, build_trie
from tests.support.decoding import CPU, PAD, VOCAB, case, token_ids
from tests.support.models import make_model

MODEL: Any = make_model("qwen3", VOCAB, seed=3)


@torch.inference_mode()
def expected_scores(model: Any, prompts: list[list[int]], trie: Trie, lists: list[list[int]]) -> np.ndarray:
    """Scores from plain forward passes over each prompt with each of its candidates."""
    ids, scores = token_ids(trie.levels), [np.empty(0)]
    for prompt, rows in zip(prompts, lists, strict=True):
        if not rows:
            continue
        codes = trie.leaf_codes[trie.leaf_of_row[rows]]
        answers = torch.from_numpy(np.stack([ids[level][codes[:, level]] for level in range(trie.levels)], axis=1))
        sequences = torch.cat([torch.tensor([prompt] * len(rows)), answers], dim=1)
        logits = model(sequences).logits[:, len(prompt) - 1 : -1].double().log_softmax(-1)
        scores.append(logits.gather(2, answers[..., None]).sum((1, 2)).numpy())
    return np.concatenate(scores)


@pytest.mark.parametrize("kind", ["qwen3", "llama", "gpt2", "gemma", "bloom"])
def test_equals_a_forward_pass_for_each_candidate(kind: str) -> None:
    codes, prompts = case(5, items=40, levels=3, prompts=3)
    codes[7] = codes[3]  # share a semantic ID, hence a score
    model, trie = make_model(kind, VOCAB, seed=4), build_trie(codes)
    lists = [[3, 39, 7, 0, 3], [], list(range(40))]
    found = score_items(model, prompts, TrieTensors(trie, token_ids(3), CPU), CandidateLists.of(lists), pad_id=PAD)
    np.testing.assert_allclose(found, expected_scores(model, prompts, trie, lists), atol=2e-5)
    assert found[0] == found[2] == found[4]


@settings(max_examples=12)
@given(st.data())
def test_any_shape(data: st.DataObject) -> None:
    items, levels = data.draw(st.integers(1, 40), label="items"), data.draw(st.integers(1, 4), label="levels")
    codes, prompts = case(data.draw(st.integers(0, 99)), items, levels, data.draw(st.integers(1, 4)))
    rows = st.lists(st.integers(0, items - 1), max_size=8)
    lists = [data.draw(rows, label="candidates") for _ in prompts]
    trie = build_trie(codes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidate_scores, "IDS_AT_ONCE", data.draw(st.integers(1, 9), label="at once"))
        patch.setattr(candidate_scores, "TOKENS_ON_CPU", data.draw(st.integers(1, 90), label="tokens"))
        if data.draw(st.booleans(), label="rows"):  # a model that cannot follow the mask of a tree
            abilities = Abilities(split_head=True, linear_head=True, tree_masks=False)
            patch.setattr(candidate_scores, "make_runner", lambda model: Runner(model, abilities))
        tensors, candidates = TrieTensors(trie, token_ids(levels), CPU), CandidateLists.of(lists)
        found = score_items(MODEL, prompts, tensors, candidates, pad_id=PAD, batch_size=data.draw(st.integers(1, 4)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected_scores(MODEL, prompts, trie, lists), atol=2e-5)


def test_equals_the_scores_of_the_searches() -> None:
    codes, prompts = case(6, items=60, levels=3, prompts=4)
    trie = build_trie(codes)
    tensors = TrieTensors(trie, token_ids(3), CPU)
    beam = beam_search(MODEL, prompts, tensors, 10, PAD)
    for ranking in (beam, exact_search(MODEL, prompts, tensors, beam, 10).ranking):
        lists = [[int(trie.items_of(leaf)[0]) for leaf in leaves] for leaves in ranking.leaves]
        found = score_items(MODEL, prompts, tensors, CandidateLists.of(lists), pad_id=PAD)
        np.testing.assert_allclose(found, ranking.scores.ravel(), atol=1e-5)


def test_each_prefix_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.asarray([[0, 0, 0], [0, 0, 1], [0, 1, 0], [2, 0, 0]], dtype=np.int32)
    read = 0

    class Counting(Runner):
        def __call__(self, cache: Any, ids: torch.Tensor, *more: Any) -> Any:
            nonlocal read
            read += ids.numel()
            return super().__call__(cache, ids, *more)

    monkeypatch.setattr(candidate_scores, "make_runner", lambda model: Counting(model, make_runner(model).abilities))
    tensors = TrieTensors(build_trie(codes), token_ids(3), CPU)
    score_items(MODEL, [[5, 6, 7, 8]], tensors, CandidateLists.of([[0, 1, 2, 3, 1]]))
    assert read == 4 + len({(0,), (2,)}) + len({(0, 0), (0, 1), (2, 0)})


@pytest.mark.parametrize(
    ("offsets", "rows", "words"), [([0, 1], [0], "2 prompts"), ([0, 1, 2], [0, 30], "30 items"), ([0, 1], [], "2 pro")]
)
def test_lists_that_do_not_fit_are_refused(offsets: list[int], rows: list[int], words: str) -> None:
    codes, prompts = case(9, items=30, levels=2, prompts=2)
    candidates = CandidateLists(np.asarray(offsets), np.asarray(rows, dtype=np.int64))
    with pytest.raises(ValueError, match=words):
        score_items(MODEL, prompts, TrieTensors(build_trie(codes), token_ids(2), CPU), candidates)
