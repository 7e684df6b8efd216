"""Steps divided into passes: nothing lost, limits kept, and the gradient of the whole step."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.prompts.examples import IGNORED, Example
from gti_cli.prompts.next_item import Frame
from gti_cli.training.answer_loss import answer_loss
from gti_cli.training.batches.history_examples import HistoryExample, history_examples
from gti_cli.training.batches.history_packing import HistoryLayout
from gti_cli.training.batches.mixture import ExampleCollator
from gti_cli.training.batches.passes import PassLimit, collate_passes, in_passes
from tests.support.models import make_model

ITEMS = np.random.default_rng(0).permutation(60).reshape(20, 3) + 20
FRAMES = (Frame([5, 6, 7], [8, 9]), Frame([5, 4], [8, 9]))
COLLATOR = ExampleCollator(HistoryLayout(FRAMES[0], ITEMS, 2, 0, FRAMES[1:], equal_cost_length=100.0))


def a_step(seed: int, both: bool = True) -> list[HistoryExample | Example]:
    rng = np.random.default_rng(seed)
    users = [(rng.integers(20, size=rng.integers(2, 9)).tolist(), int(rng.integers(2))) for _ in range(5)]
    histories = [example for items, wording in users for example in history_examples(items, 6, wording=wording)]
    sizes = rng.integers(1, 9, (6 if both else 0, 2)).tolist()
    ordinary = [Example(rng.integers(90, size=a).tolist(), rng.integers(90, size=b).tolist()) for a, b in sizes]
    return [*histories, *ordinary]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5))), st.integers(1, 60), st.integers(1, 12))
def test_groups_hold_everything_and_keep_the_limit(parts: list[tuple[int, int]], tokens: int, targets: int) -> None:
    groups = in_passes(parts, lambda part: part[0], lambda part: part[1], PassLimit(tokens, targets))
    assert Counter(part for group in groups for part in group) == Counter(parts) and all(groups)
    for group in groups:
        widest, count = max(width for width, _ in group), sum(count for _, count in group)
        assert len(group) == 1 or (widest * len(group) <= tokens and count <= targets)
    if len(groups) == 1:
        assert groups[0] == parts


@pytest.mark.parametrize("limit", [PassLimit(60), PassLimit(targets=4), PassLimit(1, 1)])
@pytest.mark.parametrize("both", [False, True])
def test_passes_sum_to_the_gradient_of_the_step(limit: PassLimit, both: bool) -> None:
    model: Any = make_model("qwen3", 100)
    step = a_step(1, both)
    whole, count = answer_loss(model, COLLATOR.collate(step))
    expected = torch.autograd.grad(whole / count, list(model.parameters()))
    divided = collate_passes(COLLATOR, step, limit)
    assert len(divided["passes"]) > 2 and int(divided["terms"]) == int(count)
    assert "branches" in divided["passes"][-1] and bool((divided["passes"][-1]["branches"] > 0).any())  # a history
    total = 0.0
    for part in divided["passes"]:
        rows, width = part["input_ids"].shape
        assert rows == 1 or rows * width <= limit.tokens
        loss, _ = answer_loss(model, part)
        (loss / divided["terms"]).backward()
        total += float(loss.detach())
    assert total == pytest.approx(float(whole.detach()), rel=1e-5)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_a_step_that_fits_is_one_batch_as_before() -> None:
    step = a_step(2)
    expected = COLLATOR.collate(step)
    targets = int((expected["targets"] != IGNORED).sum()) // 4 + 6
    for limit in (PassLimit(), PassLimit(math.inf, targets)):
        found = collate_passes(COLLATOR, step, limit)
        examples = found.pop("examples"), expected.get("examples")
        assert all(torch.equal(found[name], expected[name]) for name in found)
        assert all(torch.equal(examples[0][name], examples[1][name]) for name in examples[0])
    assert "passes" in collate_passes(COLLATOR, step, PassLimit(math.inf, targets - 1))
