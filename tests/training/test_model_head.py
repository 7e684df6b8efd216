"""Which heads have their loss computed in chunks, and that it is the loss of the model's own logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gti_cli.prompts.next_item import Frame
from gti_cli.training.answer_loss import answer_loss
from gti_cli.training.batches.history_examples import HistoryExample
from gti_cli.training.batches.history_packing import HistoryLayout
from gti_cli.training.head_loss import LogitRule
from gti_cli.training.model_head import find_model_head
from tests.support.models import make_model

ITEMS = np.random.default_rng(0).permutation(60).reshape(20, 3) + 20
LAYOUT = HistoryLayout(Frame([5, 6, 7], [8, 9]), ITEMS, end_id=2, pad_id=0, equal_cost_length=100.0)
TREES = [HistoryExample((1, 2, 3, 4), 1), HistoryExample((5, 6), 1), HistoryExample((7, 1, 9), 2)]


@pytest.mark.parametrize("kind", ["qwen3", "gemma2", "phi"])
def test_equals_the_loss_of_the_models_logits(kind: str) -> None:
    model: Any = make_model(kind, 100)
    head = find_model_head(model)
    assert head is not None and not model.training
    batch = LAYOUT.collate(TREES)
    found = [answer_loss(model, batch, way) for way in (head, None)]
    assert int(found[0][1]) == int(found[1][1]) == 5 * 4
    gradients = [torch.autograd.grad(loss / count, list(model.parameters())) for loss, count in found]
    torch.testing.assert_close(found[0][0], found[1][0])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    assert model(input_ids=torch.arange(4)[None]).logits.shape == (1, 4, 100)  # the head is as before


def test_a_head_with_something_around_it_keeps_the_models_logits() -> None:
    model: Any = make_model("llama", 100)
    head = find_model_head(model)
    assert head is not None and head.rule == LogitRule()
    linear = model.get_output_embeddings()
    linear.weight.requires_grad_(False)
    assert find_model_head(model) is None  # a frozen head gets no gradient
    linear.weight.requires_grad_(True)
    model.set_output_embeddings(torch.nn.Sequential(linear))
    assert find_model_head(model) is None


def test_a_model_with_a_rule_of_its_own_keeps_its_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = make_model("qwen3", 100)
    original = model.forward

    def shifted(*_: Any, **more: Any) -> Any:
        outputs = original(*_, **more)
        outputs.logits = outputs.logits * outputs.logits
        return outputs

    monkeypatch.setattr(model, "forward", shifted)
    assert find_model_head(model) is None

    def refuses(*_: Any, **more: Any) -> Any:
        if original(*_, **more).logits.shape[1] == 0:
            raise IndexError("no logits")
        return original(*_, **more)

    monkeypatch.setattr(model, "forward", refuses)
    assert find_model_head(model) is None
