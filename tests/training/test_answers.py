"""The loss on answers only, against one example at a time through the whole model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_model
from torch.nn import functional

from gti_cli.prompts.next_item import Frame
from gti_cli.training.answers import answer_loss, mean_loss
from gti_cli.training.packing import Layout, Window, separate, windows

RNG = np.random.default_rng(0)
LAYOUT = Layout(Frame([5, 6, 7], [8, 9]), RNG.permutation(60).reshape(20, 3) + 20, end=2, pad=0)


def naive(model: Any, layout: Layout, single: Window) -> tuple[torch.Tensor, int]:
    """One target: its own sequence, no padding, no mask, all logits; the loss of the answer by a loop."""
    prompt = [*layout.frame.before, *layout.items[list(single.items[:-1])].ravel().tolist(), *layout.frame.behind]
    answer = [*layout.items[single.items[-1]].tolist(), layout.end]
    logits = model(torch.tensor([prompt + answer])).logits[0]
    loss = torch.zeros(())
    for n, token in enumerate(answer):
        loss = loss - functional.log_softmax(logits[len(prompt) + n - 1], dim=-1)[token]
    return loss, len(answer)


def some_windows(seed: int, history: int = 6) -> list[Window]:
    rng = np.random.default_rng(seed)
    users = [rng.integers(20, size=rng.integers(2, 12)).tolist() for _ in range(4)]
    return [window for items in users for window in windows(items, history)]


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
@pytest.mark.parametrize("seed", range(3))
def test_equals_a_loop_over_examples(kind: str, seed: int) -> None:
    model = make_model(kind, 100, seed=seed)
    singles = [single for window in some_windows(seed) for single in separate(window)]
    expected = [naive(model, LAYOUT, single) for single in singles]
    loss, count = answer_loss(model, LAYOUT.collate(singles))
    total = torch.stack([loss for loss, _ in expected]).sum()
    assert int(count) == sum(n for _, n in expected)
    torch.testing.assert_close(loss, total, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(value / count, list(model.parameters())) for value in (loss, total)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    mean = mean_loss(model, LAYOUT, singles, 5, torch.device("cpu"))
    assert mean == pytest.approx(float(total.detach()) / int(count), rel=1e-5)
