"""How the options of a run decide its loss and its passes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gti_cli.prompts.next_item import Frame
from gti_cli.recommendation.options import FinetuneOptions
from gti_cli.recommendation.parameters.passes import choose_passes
from gti_cli.training import micro_batch
from gti_cli.training.answer_loss import answer_loss
from gti_cli.training.batches.history_examples import HistoryExample
from gti_cli.training.batches.history_packing import HistoryLayout
from gti_cli.training.batches.mixture import ExampleCollator
from gti_cli.training.batches.passes import PassLimit
from tests.support.models import make_model

ITEMS = np.random.default_rng(0).permutation(60).reshape(20, 3) + 20
COLLATOR = ExampleCollator(HistoryLayout(Frame([5, 6, 7], [8, 9]), ITEMS, end_id=2, pad_id=0))
STEP = [HistoryExample((1, 2, 3), 1), HistoryExample((1, 2), 1)]


def choose(**options: Any) -> tuple[Any, PassLimit, dict[str, Any]]:
    model: Any = make_model("qwen3", 100)
    job: Any = SimpleNamespace(options=FinetuneOptions(**options), device=torch.device("cpu"), autocast=False)
    run: Any = SimpleNamespace(measured={})
    loss, limit = choose_passes(job, model, model, COLLATOR, STEP, run)
    return loss, limit, run.measured


def test_the_limit_is_measured_or_given(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, limit, measured = choose()
    assert loss.keywords["head"] is not None and measured["head_loss"] == "in chunks"
    assert measured["micro_batch"]["tokens"] == limit.tokens == 96 * 2**20 // measured["micro_batch"]["bytes_per_token"]
    fewer = choose(gradient_checkpointing=True)[2]["micro_batch"]
    assert fewer["bytes_per_token"] < measured["micro_batch"]["bytes_per_token"]
    monkeypatch.setattr(micro_batch, "choose_micro_batch", None)  # calling it fails
    assert choose(micro_batch=9)[1:] == (
        PassLimit(targets=9),
        {"head_loss": "in chunks", "micro_batch": {"targets": 9}},
    )


@pytest.mark.parametrize("option", ["lora", "compile"])
def test_a_head_that_is_wrapped_or_compiled_gives_its_logits(option: str) -> None:
    loss, _, measured = choose(**{option: True}, micro_batch=5)
    assert loss.keywords["head"] is None and measured["head_loss"] == "from all logits"


def test_a_sharded_model_takes_a_step_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gti_cli.training.sharding.requested_sharding", lambda: "some")
    assert choose() == (answer_loss, PassLimit(), {})
