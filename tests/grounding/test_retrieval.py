"""Retrieval against a loop that scores every item in full."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gti_cli.checkpoints.loading import load_model, load_tokenizer
from gti_cli.grounding.ground import ground
from gti_cli.grounding.retrieval import ItemIndex, retrieval
from gti_cli.prompts.pair_prompts import TO_TOKENS, Pair, encode_pairs


def score_all(model: Any, prompt: list[int], items: Any) -> Any:
    """Log-probability of each item's tokens after the prompt."""
    scores = []
    for item in items:
        logits = model(torch.tensor([[*prompt, *item]])).logits[0].log_softmax(-1)
        scores.append(sum(float(logits[len(prompt) - 1 + n, token]) for n, token in enumerate(item)))
    return np.asarray(scores)


@torch.no_grad()
def test_equals_scoring_every_item(make_world: Any) -> None:
    world = make_world()
    path = str(world.workspace / "extended")
    model, tokenizer = load_model(path, torch.device("cpu"), torch.float32), load_tokenizer(path)
    # Seven of the twelve items: the trie is not full, and 10 beams see all of it.
    kept = [0, 1, 3, 5, 6, 9, 11]
    codes = np.asarray([(n // 4, n % 4) for n in kept], np.int32)
    base = int(world.tokens.ids[0])
    catalogue = ItemIndex(
        codes, [world.items[n][2] for n in kept], [np.arange(base, base + 3), np.arange(base + 3, base + 7)]
    )
    pairs = [Pair(n, "title", world.items[n][1], world.items[n][2]) for n in kept]
    found = retrieval(model, tokenizer, catalogue, pairs)
    items = [[base + a, base + 3 + b] for a, b in codes.tolist()]
    best = [int(score_all(model, e.prompt, items).argmax()) for e in encode_pairs(tokenizer, pairs, TO_TOKENS)]
    assert found["retrieval@1"] == pytest.approx(np.mean([n == b for n, b in enumerate(best)]))
    assert found["retrieval@10"] == 1.0
    assert found["retrieval_chance@1"] == pytest.approx(1 / 7) and found["retrieval_chance@10"] == 1.0
    level_1 = np.mean([codes[n, 0] == codes[b, 0] for n, b in enumerate(best)])
    assert found["retrieval_prefix_1"] == pytest.approx(level_1)
    assert found["retrieval_prefix_2"] == pytest.approx(found["retrieval@1"])


def test_the_stage_reports_it_and_can_leave_it_out(make_world: Any) -> None:
    world = make_world()
    options = {"max_steps": 60, "batch_size": 16, "learning_rate": 0.05, "held_out": 0.3, "device": "cpu"}
    manifest = ground(world.workspace, **options)
    metrics = manifest.metrics
    assert manifest.counts["retrieval_pairs"] == manifest.counts["held_out_pairs"] == 10
    assert 0 <= metrics["retrieval@1"] <= metrics["retrieval_prefix_1"] <= 1
    assert "retrieval@1_before" in metrics and "retrieval_chance@1_before" not in metrics
    without = ground(world.workspace, name="other", retrieval_sample=0, **options)
    assert not any("retrieval" in name for name in without.metrics)
    text = ground(world.workspace, name="third", directions="to-text", **{**options, "max_steps": 2})
    assert not any("retrieval" in name for name in text.metrics)
