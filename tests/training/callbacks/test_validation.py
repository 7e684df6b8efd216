"""Validation by ranking: against the loop of the metric's definition, and what early stopping keeps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.decoding.trie import build_trie
from gti_cli.prompts.next_item import Frame
from gti_cli.training.batches.history_examples import HistoryExample
from gti_cli.training.batches.history_packing import HistoryLayout
from gti_cli.training.callbacks.validation import METRIC, Ranker, Validation, ndcg, validation_history, validation_steps
from tests.support.models import make_model


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 10))
def test_ndcg_is_the_mean_over_all_orders_of_ties(seed: int, width: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(3, size=(14, 2)).astype(np.int32)  # 14 items, at most 9 semantic IDs: many ties
    trie = build_trie(codes)
    lists = np.full((3, width), -1)
    for row in lists:
        some = rng.permutation(trie.leaves)[: rng.integers(0, width + 1)]
        row[: len(some)] = some
    targets = rng.integers(14, size=3)
    for found, leaves, target in zip(ndcg(lists, trie, targets, k), lists, targets, strict=True):
        expected, rank = 0.0, 1
        for leaf in leaves[leaves >= 0]:
            items = trie.items_of(leaf)
            if target in items:
                gains = [1 / np.log2(1 + r) if r <= k else 0.0 for r in range(rank, rank + len(items))]
                expected = float(np.mean(gains))
            rank += len(items)
        assert found == pytest.approx(expected)


def test_ranker_agrees_with_scoring_every_item() -> None:
    rng = np.random.default_rng(0)
    codes = np.stack(np.meshgrid(np.arange(4), np.arange(5)), -1).reshape(-1, 2)[:18].astype(np.int32)
    code_ids = [np.arange(30, 34), np.arange(34, 39)]
    items = np.stack([code_ids[level][codes[:, level]] for level in range(2)], axis=1)
    layout = HistoryLayout(Frame([5, 6, 7], [8, 9]), items, end_id=2, pad_id=0)
    examples = [HistoryExample(tuple(rng.integers(18, size=n).tolist()), n - 1) for n in (2, 5, 3, 3)]
    model = make_model("qwen3", 60)
    total = 0.0
    for example in examples:
        prompt = layout.frame.prompt([items[row] for row in example.items[:-1]])
        scores = []
        for first, second in items.tolist():
            logits = model(torch.tensor([[*prompt, first]])).logits[0].log_softmax(-1)
            scores.append(float((logits[-2, first] + logits[-1, second]).detach()))
        rank = 1 + sum(score > scores[example.items[-1]] for score in scores)
        total += 1 / np.log2(1 + rank) if rank <= 10 else 0
    model.train()
    prompts, targets = [layout.prompt(example) for example in examples], [example.items[-1] for example in examples]
    ranker = Ranker(codes, code_ids, prompts, targets, layout.pad_id, torch.device("cpu"), autocast=False)
    value = ranker(model, batch_size=3)
    assert value == pytest.approx(total / 4, rel=1e-4)
    assert model.training and model.model.layers[0].mlp.down_proj.weight.requires_grad


def run(tmp_path: Path, values: list[float], patience: int | None) -> tuple[list[float], float, bool]:
    """Go through validations that measure ``values``, the one weight being the number of the step."""
    model = torch.nn.Linear(1, 1, bias=False)
    todo = iter(values)
    validation = Validation(lambda: next(todo), model, tmp_path, range(1, len(values) + 1), patience)
    state: Any = SimpleNamespace(log_history=[], global_step=0)
    control: Any = SimpleNamespace(should_training_stop=False)
    for step in range(1, len(values) + 1):
        state.global_step = step
        model.weight.data.fill_(step)
        validation.on_step_end(None, state, control)  # type: ignore[arg-type]
        if control.should_training_stop:
            break
    validation.restore_best()
    return [entry[METRIC] for entry in state.log_history], float(model.weight.detach()), control.should_training_stop


def test_the_best_is_kept_and_patience_ends(tmp_path: Path) -> None:
    assert run(tmp_path, [0.1, 0.3, 0.2, 0.3, 0.1, 0.9], 3) == ([0.1, 0.3, 0.2, 0.3, 0.1], 2.0, True)
    assert run(tmp_path, [0.1, 0.3, 0.2, 0.25, 0.4], 3) == ([0.1, 0.3, 0.2, 0.25, 0.4], 5.0, False)
    assert run(tmp_path, [0.0, 0.0, 0.0], None) == ([0.0, 0.0, 0.0], 1.0, False)


def test_steps_of_validation() -> None:
    assert validation_steps(100, 4) == [25, 50, 75, 100]
    assert validation_steps(3, 10) == [1, 2, 3]
    assert validation_steps(7, 1) == [7]
    assert validation_history(SimpleNamespace(log_history=[{"loss": 1.0}, {"step": 3, METRIC: 0.5}])) == [(3, 0.5)]  # type: ignore[arg-type]
