"""Batches of prompts against single prompts."""

from __future__ import annotations

import numpy as np
import pytest

from gti_cli.decoding.beam import TrieTensors, beam_search
from gti_cli.decoding.beam_batches import search_all
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
