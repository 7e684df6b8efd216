"""Searches from kept prompts against those that read every prompt."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gti_cli.decoding.architecture_probe import make_runner
from gti_cli.decoding.beam import TrieTensors
from gti_cli.decoding.hypothesis_caches import StoredPrefix
from gti_cli.decoding.prompt_cache.kept_prompts import KeptPrompts
from gti_cli.decoding.search_parts import Searcher, SearchRequest, SearchResult, search_parts
from gti_cli.decoding.trie import build_trie
from tests.support.decoding import CPU, PAD, VOCAB, case, token_ids
from tests.support.models import make_model

CODES = case(5, items=60, levels=3, prompts=1)[0]
BEFORE = [5, 6, 7]
FIRST = [[11, 12, 13, 14, 20], [31, 32, 20], [15, 16, 17, 18, 19, 33, 20]]
# The first is the same, the second goes on, the third is new, the fourth shares a token, the last is a part.
THEN = [FIRST[0], [31, 32, 34, 20], [8, 9, 20], [15, 9, 8, 11, 20], [15, 16, 17, 20]]


def search(searcher: Searcher, prompts: list[list[int]], exact: bool = True) -> SearchResult:
    request = SearchRequest([[*BEFORE, *rest] for rest in prompts], [0] * len(prompts), 5, 8, exact=exact)
    return search_parts(searcher, request, batch_size=8, description="", unit="users")


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["qwen3", "gpt2"])
def test_lists_are_the_same_with_kept_prompts(kind: str) -> None:
    model, trie = make_model(kind, VOCAB, seed=3), TrieTensors(build_trie(CODES), token_ids(3), CPU)
    stored = [StoredPrefix(make_runner(model), BEFORE)]
    kept = KeptPrompts(1 << 20)
    plain, cached = Searcher(model, trie, PAD, None, stored), Searcher(model, trie, PAD, None, stored, kept)
    for prompts, exact in ((FIRST, True), (THEN, False), (THEN, True), (THEN[:1], True), (THEN[2:4], False)):
        found, expected = search(cached, prompts, exact).ranking, search(plain, prompts, exact).ranking
        np.testing.assert_array_equal(found.leaves, expected.leaves)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
        used = kept.take_use()
        if prompts is FIRST:
            assert (used.whole, used.part, used.none, len(kept)) == (0, 0, 3, 3)  # read once for both searches
        if prompts is THEN and not exact:
            assert (used.whole, used.part, used.none, len(kept)) == (1, 2, 2, 7)
            assert (used.tokens_kept, used.tokens_read) == (4 + 2 + 3, 1 + 2 + 3 + 5 + 1)
        if prompts is THEN and exact:
            assert (used.whole, used.part, used.none) == (5, 0, 0)


def test_what_the_beam_read_serves_the_exact_search_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    model, trie = make_model("qwen3", VOCAB, seed=3), TrieTensors(build_trie(CODES), token_ids(3), CPU)
    searcher = Searcher(model, trie, PAD)
    once = search(searcher, THEN)
    prefix_of = Searcher.prefix_of
    monkeypatch.setattr(Searcher, "prefix_of", lambda self, prompts, twice=False: prefix_of(self, prompts))
    twice = search(searcher, THEN)
    np.testing.assert_array_equal(once.ranking.leaves, twice.ranking.leaves)
    np.testing.assert_array_equal(once.ranking.scores, twice.ranking.scores)
