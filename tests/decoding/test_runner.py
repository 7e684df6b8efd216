"""Log-probabilities and logits of a runner, whatever its model's head allows."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gti_cli.decoding.architecture_probe import make_runner
from gti_cli.decoding.runner import Abilities, Runner
from gti_cli.errors import InputError
from tests.support.decoding import VOCAB
from tests.support.models import make_model


@pytest.mark.parametrize("chunk", [VOCAB, 7 * VOCAB])
def test_log_probs_in_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gti_cli.decoding.runner._LOGITS_AT_ONCE", chunk)
    runner = make_runner(make_model("gemma2", VOCAB, seed=3))
    logits = torch.randn(11, VOCAB)
    tokens = torch.randint(VOCAB, (11, 5))
    torch.testing.assert_close(runner.log_probs(logits, tokens), logits.log_softmax(1).gather(1, tokens))


ABILITIES = (Abilities(), Abilities(split_head=True), Abilities(split_head=True, linear_head=True))


@torch.inference_mode()
@pytest.mark.parametrize("abilities", ABILITIES)
def test_every_way_of_running_gives_the_models_log_probabilities(abilities: Abilities) -> None:
    from transformers import DynamicCache

    model: Any = make_model("qwen3", VOCAB, seed=3)
    ids = torch.randint(3, VOCAB, (2, 7))
    expected = model(ids).logits.log_softmax(-1)
    runner, cache = Runner(model, abilities), DynamicCache()
    tokens = torch.randint(VOCAB, (2, 6))
    # In two runs: the second one continues the cache of the first.
    for start, end in ((0, 4), (4, 7)):
        positions = torch.arange(start, end)[None].expand(2, -1)
        features = runner(cache, ids[:, start:end], torch.ones(2, end, dtype=torch.long), positions, 2)
        assert features.shape[:2] == (2, 2)
        for place in (0, 1):
            found = runner.log_probs(features[:, place], tokens)
            torch.testing.assert_close(found, expected[:, end - 2 + place].gather(1, tokens), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(
                runner.logits(features[:, place]).log_softmax(-1), expected[:, end - 2 + place], atol=1e-5, rtol=1e-4
            )


def test_the_window_is_the_shortest_that_a_layer_has() -> None:
    assert Runner(make_model("qwen3", VOCAB), Abilities()).window is None
    assert Runner(make_model("gemma2", VOCAB), Abilities()).window == 64


def test_models_without_a_cache_of_keys_and_values_are_refused() -> None:
    with pytest.raises(InputError, match="MambaForCausalLM takes no key-value cache"):
        make_runner(make_model("mamba", VOCAB))
