"""Both kinds of examples in one step: the loss against one sequence at a time, and the plan of several tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from gti_cli.errors import InputError
from gti_cli.prompts.examples import Example
from gti_cli.prompts.next_item import Frame
from gti_cli.training.answer_loss import answer_loss, mean_loss
from gti_cli.training.batches.batch_plan import BatchPlan
from gti_cli.training.batches.history_examples import HistoryExample, single_target_examples
from gti_cli.training.batches.history_packing import HistoryLayout
from gti_cli.training.batches.mixture import ExampleCollator, MixedPlan, TrainingExample, targets_per_task
from tests.support.models import make_model

RNG = np.random.default_rng(0)
ITEMS = RNG.permutation(60).reshape(20, 3) + 20
LAYOUT = HistoryLayout(Frame([5, 6, 7], [8, 9]), ITEMS, 2, 0, (Frame([10, 11], [8, 9]), Frame([12] * 5, [8, 9])))
EXAMPLES: list[TrainingExample] = [
    HistoryExample((1, 2, 3, 4), 1, 1),
    Example([30, 31, 32], [40, 41, 2]),
    HistoryExample((7, 8), 1),
    Example([50], [61, 2]),
    HistoryExample((3, 9, 10), 1, 2),
    Example([33] * 12, [44] * 7 + [2]),
]


def sequences(examples: list[TrainingExample]) -> list[tuple[list[int], list[int]]]:
    """Prompt and answer of every target, by hand."""
    found = []
    for example in examples:
        if isinstance(example, Example):
            found.append((example.prompt, example.answer))
            continue
        before = [[5, 6, 7], [10, 11], [12] * 5][example.wording]
        for single in single_target_examples(example):
            *shown, target = single.items
            found.append(([*before, *ITEMS[shown].ravel().tolist(), 8, 9], [*ITEMS[target].tolist(), 2]))
    return found


def naive(model: Any, examples: list[TrainingExample]) -> tuple[torch.Tensor, int]:
    total, count = torch.zeros(()), 0
    for prompt, answer in sequences(examples):
        logits = functional.log_softmax(model(torch.tensor([prompt + answer])).logits[0], dim=-1)
        total = total - sum(logits[len(prompt) + n - 1, token] for n, token in enumerate(answer))
        count += len(answer)
    return total, count


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
@pytest.mark.parametrize("chosen", [EXAMPLES, EXAMPLES[1::2], EXAMPLES[::2], EXAMPLES[3:4]])
def test_loss_and_gradient_equal_one_sequence_at_a_time(kind: str, chosen: list[TrainingExample]) -> None:
    model, collator = make_model(kind, 100), ExampleCollator(LAYOUT)
    expected, tokens = naive(model, chosen)
    loss, count = answer_loss(model, collator.collate(chosen))
    assert int(count) == tokens
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    gradients = [torch.autograd.grad(value / tokens, list(model.parameters())) for value in (loss, expected)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    mean = mean_loss(model, collator, chosen, 2, torch.device("cpu"))
    assert mean == pytest.approx(float(expected.detach()) / tokens, rel=1e-5)


def test_sizes_are_those_of_the_sequences() -> None:
    collator = ExampleCollator(LAYOUT)
    for example in EXAMPLES:
        assert collator.target_count(example) == len(sequences([example]))
        (row,) = collator.collate([example])["branches"]
        assert collator.token_count(example) == int((row >= 0).sum()) == len(row)
    assert LAYOUT.prompt(HistoryExample((1, 2), 1, 1)) == sequences([HistoryExample((1, 2), 1, 1)])[0][0]
    with pytest.raises(ValueError, match="differ after"):
        HistoryLayout(Frame([1], [2]), ITEMS, 2, 0, (Frame([1], [3]),))


@given(st.integers(1, 200), st.lists(st.floats(0.001, 1000), min_size=1, max_size=5))
def test_shares_of_a_step(size: int, weights: list[float]) -> None:
    named = {f"t{n}": weight for n, weight in enumerate(weights)}
    if size < len(weights):
        with pytest.raises(InputError, match="cannot hold"):
            targets_per_task(size, named)
        return
    found = targets_per_task(size, named)
    assert sum(found.values()) == size and min(found.values()) >= 1
    for name, share in found.items():
        wanted = size * named[name] / sum(weights)
        assert share == 1 or share <= wanted + 1  # above only where another one rounds down
        assert share >= wanted - len(weights)  # below by what others need for their one target


def plan(weights: dict[str, float] | None = None, **how: Any) -> MixedPlan:
    tasks = {"a": ([20] * 90, [3] * 90), "b": (list(range(10, 40)), [1] * 30)}
    return MixedPlan(tasks, weights, **{"size": 20, "epochs": 2.0, "max_steps": None, "seed": 0, **how})


def test_a_step_has_its_share_of_every_task_and_every_example_has_its_turn() -> None:
    found = plan()
    assert found.sizes == {"a": 270, "b": 30} and found.shares == {"a": 18, "b": 2}
    assert len(found) == 30 and found.epochs == pytest.approx(2, abs=0.1)
    places = [place for step in found for place in step]
    assert {place for place in places if place < 90} == set(range(90))
    assert {place - 90 for place in places if place >= 90} == set(range(30))
    for step, a, b, targets in zip(found, found.by_task["a"], found.by_task["b"], found.targets, strict=True):
        assert a == 3 * sum(place < 90 for place in step) <= 18
        assert b == sum(place >= 90 for place in step) == 2
        assert targets == a + b
    assert found.passes(len(found)) == {"a": pytest.approx(2), "b": pytest.approx(2)}
    assert list(found) == list(plan()) != list(plan(seed=1))


def test_weights_decide_over_numbers() -> None:
    found = plan({"a": 0.5, "b": 0.5})
    assert found.shares == {"a": 10, "b": 10}
    # History examples with three targets: at most nine of them fit into ten.
    assert set(found.by_task["a"]) == {9} and set(found.by_task["b"]) == {10}
    assert found.epochs == pytest.approx(2, abs=0.1) and len(found) == 32
    assert found.passes(len(found))["b"] > 10 > 2 > found.passes(len(found))["a"]
    assert len(plan(max_steps=5)) == 5


def test_one_task_has_the_plan_of_a_batch_plan() -> None:
    how: dict[str, Any] = {"size": 7, "epochs": 1.3, "max_steps": None, "seed": 3}
    sizes = (list(range(10, 50)), [2] * 40)
    alone, plain = MixedPlan({"a": sizes}, {"a": 5.0}, **how), BatchPlan(*sizes, **how)
    assert list(alone) == list(plain) and alone.by_task == {"a": plain.targets} and alone.epochs == plain.epochs


def test_processes_share_each_step() -> None:
    whole, parts = plan(size=10, max_steps=12), [plan(size=5, max_steps=6, world=2, rank=rank) for rank in (0, 1)]
    for part in parts:
        assert part.targets == parts[0].targets and part.by_task == parts[0].by_task and len(part) == 6
    for mine, theirs, a, b in zip(*parts, parts[0].by_task["a"], parts[0].by_task["b"], strict=True):
        both = [*mine, *theirs]
        assert 3 * sum(place < 90 for place in both) == a and sum(place >= 90 for place in both) == b
        assert len(set(both)) == len(both)
    assert len(whole) == 12
