"""Beam search, exact search and scores of given items under a behaviour prior, against biased logits item by item."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from gti_cli.decoding.beam import TrieTensors, beam_search
from gti_cli.decoding.candidate_scores import CandidateLists, score_items
from gti_cli.decoding.constraints.allowed_nodes import AllowedItems
from gti_cli.decoding.exact import exact_search
from gti_cli.decoding.prior_bias import PriorTrie, code_bias
from gti_cli.decoding.prompt_prior import ModelPrior, PromptPrior
from gti_cli.decoding.search_parts import ScoreRequest, Searcher, SearchRequest, score_parts, search_parts
from gti_cli.decoding.trie import Trie, build_trie
from tests.support.decoding import CPU, PAD, VOCAB, case, token_ids
from tests.support.models import make_model

ITEMS, LEVELS = 40, 3
MODEL: Any = make_model("qwen3", VOCAB, seed=3)


class Case:
    """A catalogue with a prior of two channels behind three prompts; the first channel has no mass behind the last."""

    def __init__(self) -> None:
        codes, self.prompts = case(5, items=ITEMS, levels=LEVELS, prompts=3)
        codes[7] = codes[3]  # They share a semantic ID.
        self.trie = build_trie(codes)
        rng = np.random.default_rng(0)
        masses = rng.random((3, ITEMS)) * (rng.random((3, ITEMS)) < 0.3)
        masses[2] = 0
        second = rng.random((3, ITEMS)) ** 4
        self.masses = sparse.csr_matrix(np.concatenate([masses, second], axis=1))
        self.ids = token_ids(LEVELS)
        self.tensors = TrieTensors(self.trie, self.ids, CPU)
        weights = torch.tensor([[0.7, 1.5, 0.2], [0.4, -0.3, 1.1]])
        sizes = [len(ids) for ids in self.ids]
        self.model = ModelPrior(PriorTrie(self.trie, sizes, CPU), weights, [torch.from_numpy(ids) for ids in self.ids])
        self.prior: PromptPrior = self.model.behind(self.masses)


@torch.inference_mode()
def expected_scores(made: Case) -> np.ndarray:
    """(prompts, items) scores from plain forward passes whose logits get the bias."""
    trie: Trie = made.trie
    leaves = trie.leaf_of_row[np.arange(ITEMS)]
    codes, paths = trie.leaf_codes[leaves], trie.paths(leaves)
    answers = torch.from_numpy(np.stack([made.ids[level][codes[:, level]] for level in range(LEVELS)], axis=1))
    rows = []
    for number, prompt in enumerate(made.prompts):
        sequences = torch.cat([torch.tensor([prompt] * ITEMS), answers], dim=1)
        logits = MODEL(sequences).logits[:, len(prompt) - 1 : -1].double()
        for level in range(LEVELS):
            prompts = torch.full((ITEMS,), number)
            for channel, masses in enumerate(made.prior.masses):
                bias = code_bias(made.model.trie, masses, level, prompts, torch.from_numpy(paths[level]))
                logits[:, level, made.model.code_ids[level]] += made.model.weights[channel, level] * bias
        rows.append(logits.log_softmax(-1).gather(2, answers[..., None]).sum((1, 2)).numpy())
    return np.stack(rows)


@pytest.fixture(scope="module")
def made() -> Case:
    return Case()


@pytest.fixture(scope="module")
def expected(made: Case) -> np.ndarray:
    return expected_scores(made)


def test_scores_of_given_items(made: Case, expected: np.ndarray) -> None:
    lists = [[3, 39, 7, 0], list(range(ITEMS)), [5]]
    scores = score_items(MODEL, made.prompts, made.tensors, CandidateLists.of(lists), pad_id=PAD, prior=made.prior)
    np.testing.assert_allclose(scores, np.concatenate([expected[n][rows] for n, rows in enumerate(lists)]), atol=1e-4)
    plain = score_items(MODEL, made.prompts, made.tensors, CandidateLists.of(lists), pad_id=PAD)
    assert np.abs(plain - scores).max() > 0.5


@pytest.mark.parametrize("batch_size", [1, 3])
def test_both_searches_find_the_best_items(made: Case, expected: np.ndarray, batch_size: int) -> None:
    everything = made.trie.leaves
    beam = beam_search(MODEL, made.prompts, made.tensors, everything, PAD, made.prior)
    narrow = beam_search(MODEL, made.prompts, made.tensors, 5, PAD, made.prior)
    exact = exact_search(
        MODEL, made.prompts, made.tensors, narrow, 5, pad_id=PAD, batch_size=batch_size, prior=made.prior
    )
    for number in range(len(made.prompts)):
        of_leaves = expected[number][[made.trie.items_of(leaf)[0] for leaf in range(everything)]]
        best = np.argsort(-of_leaves, kind="stable")
        assert beam.leaves[number].tolist() == best.tolist()
        assert exact.ranking.leaves[number].tolist() == best[:5].tolist()
        np.testing.assert_allclose(exact.ranking.scores[number], of_leaves[best[:5]], atol=1e-4)


def test_parts_take_the_masses_of_their_own_prompts(made: Case, expected: np.ndarray) -> None:
    searcher = Searcher(MODEL, made.tensors, PAD, made.model)
    request = SearchRequest(made.prompts, [0, 8, 0], 4, 8, exact=True, masses=made.masses)
    result = search_parts(searcher, request, batch_size=1, description="", unit="users")
    for number, scores in enumerate(result.ranking.scores):
        assert scores[0] == pytest.approx(expected[number].max(), abs=1e-4)
    lists = CandidateLists.of([[1, 2], [], [3]])
    given = ScoreRequest(made.prompts, lists, made.masses)
    scores = score_parts(searcher, given, batch_size=2, description="", unit="users")
    np.testing.assert_allclose(scores, [expected[0][1], expected[0][2], expected[2][3]], atol=1e-4)


def test_some_items_are_searched_with_the_scores_that_they_have_among_all(made: Case, expected: np.ndarray) -> None:
    rows = np.asarray([1, 3, 4, 7, 8, 15, 22, 23, 31, 39])  # 3 and 7 share a semantic ID
    allowed = AllowedItems.same_for_all(np.isin(np.arange(len(made.trie.items)), rows), len(made.prompts))
    searcher = Searcher(MODEL, made.tensors, PAD, made.model)
    request = SearchRequest(made.prompts, [0] * 3, 9, 20, exact=False, masses=made.masses, allowed=allowed)
    ranking = search_parts(searcher, request, batch_size=2, description="", unit="users").ranking
    for number in range(len(made.prompts)):
        leaves = ranking.leaves[number][ranking.leaves[number] >= 0]
        of_leaves = expected[number][[made.trie.items_of(leaf)[0] for leaf in leaves]]
        np.testing.assert_allclose(ranking.scores[number][: len(leaves)], of_leaves, atol=1e-4)
        assert sorted(leaves) == sorted(set(made.trie.leaf_of_row[rows])) and len(leaves) == 9
