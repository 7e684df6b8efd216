"""How much goes through the model at once: the bytes that are counted, and what follows from them."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from gti_cli.prompts.examples import Example
from gti_cli.prompts.next_item import Frame
from gti_cli.training import micro_batch
from gti_cli.training.answer_loss import answer_loss
from gti_cli.training.batches.history_examples import HistoryExample
from gti_cli.training.batches.history_packing import HistoryLayout
from gti_cli.training.batches.mixture import ExampleCollator
from gti_cli.training.batches.passes import PassLimit
from gti_cli.training.micro_batch import MicroBatch, choose_micro_batch, memory_budget
from tests.support.models import make_model

CPU = torch.device("cpu")
ITEMS = np.random.default_rng(0).permutation(60).reshape(20, 3) + 20
COLLATOR = ExampleCollator(HistoryLayout(Frame([5, 6, 7], [8, 9]), ITEMS, end_id=2, pad_id=0))
STEP = [HistoryExample((1, 2, 3), 1), HistoryExample((1, 2), 1), Example([3] * 4, [5, 6])]


class Stack(torch.nn.Module):
    """A linear layer and a sigmoid of width 16: for each token they keep their input and their output."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.linear = torch.nn.Embedding(100, 16), torch.nn.Linear(16, 16)
        self.config: Any = make_model("qwen3", 100).config

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        torch.rand(3)  # as dropout would
        return torch.sigmoid(self.linear(self.table(input_ids))).sum()


def stack_loss(model: torch.nn.Module, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    assert model.training
    return model(batch["input_ids"]), torch.tensor(1)


def test_counts_what_is_kept_for_the_backward_pass() -> None:
    model = Stack().eval()
    before = torch.get_rng_state()
    chosen = choose_micro_batch(model, stack_loss, COLLATOR, STEP, CPU)
    # Two vectors of 16 float32, and the token's id (int64), which the embedding keeps.
    assert chosen.bytes_per_token == 2 * 16 * 4 + 8
    assert chosen.budget == 96 * 2**20 and chosen.limit == PassLimit(chosen.budget // chosen.bytes_per_token)
    assert torch.equal(torch.get_rng_state(), before) and not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    # With gradient checkpointing: each layer's input, and the tensors of one layer of four.
    layers = choose_micro_batch(model, stack_loss, COLLATOR, STEP, CPU, checkpointed_layers=4)
    assert layers.bytes_per_token == 4 * 4 * model.config.hidden_size + 136 // 4


def test_the_count_is_the_same_again_and_no_less_than_the_models_layers_keep() -> None:
    model = make_model("qwen3", 100)
    first, second = (choose_micro_batch(model, answer_loss, COLLATOR, STEP, CPU) for _ in range(2))
    assert first == second and first.bytes_per_token is not None
    config: Any = model.config
    # The gate, its activation, the other branch and their product, in every layer, are only a part of it.
    assert first.bytes_per_token > 4 * 4 * config.intermediate_size * config.num_hidden_layers
    assert first.recorded() == {
        "tokens": first.limit.tokens,
        "bytes_per_token": first.bytes_per_token,
        "budget_bytes": 96 * 2**20,
    }
    assert MicroBatch(PassLimit(targets=5)).recorded() == {"targets": 5}


def test_nothing_of_the_batches_that_were_tried_stays_in_memory() -> None:
    model = Stack()
    results: list[weakref.ref[torch.Tensor]] = []

    def watched(model: torch.nn.Module, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        # The sigmoid keeps its own result for the backward pass.
        result = torch.sigmoid(model.linear(model.table(batch["input_ids"])))
        results.append(weakref.ref(result))
        return result.sum(), torch.tensor(1)

    choose_micro_batch(model, watched, COLLATOR, STEP, CPU)
    gc.collect()
    assert len(results) == 4 and [result() for result in results] == [None] * 4


def test_the_budget_grows_with_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Linear(1000, 30, bias=False)
    assert memory_budget(model, CPU) == 96 * 2**20
    monkeypatch.setattr(micro_batch, "_LEAST", 1000)
    assert memory_budget(model, CPU) == 1000 * 30 * 4 * 6 // 10
    card = type("Card", (), {"total_memory": 80 * 2**30})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    assert memory_budget(model, torch.device("cuda")) == 20 * 2**30
