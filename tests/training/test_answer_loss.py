"""The loss on answers only, against one example at a time through the whole model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

from gti_cli.prompts.examples import Example
from gti_cli.prompts.next_item import Frame
from gti_cli.training import answer_loss as module
from gti_cli.training.answer_loss import answer_loss, mean_loss, supports_tree_mask
from gti_cli.training.batches.history_examples import HistoryExample, history_examples, single_target_examples
from gti_cli.training.batches.history_packing import HistoryLayout
from gti_cli.training.batches.mixture import ExampleCollator
from gti_cli.training.model_head import ModelHead, find_model_head
from gti_cli.training.prior_weights import PriorWeights, attach, detach, find
from tests.support.models import make_model
from tests.support.two_devices import DEVICE, TwoDevices

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)
LAYOUT = HistoryLayout(Frame([5, 6, 7], [8, 9]), RNG.permutation(60).reshape(20, 3) + 20, end_id=2, pad_id=0)


def naive(model: Any, layout: HistoryLayout, single: HistoryExample) -> tuple[torch.Tensor, int]:
    """One target: its own sequence, no padding, no mask, all logits; the loss of the answer by a loop."""
    prompt = [
        *layout.frame.before,
        *layout.item_token_ids[list(single.items[:-1])].ravel().tolist(),
        *layout.frame.behind,
    ]
    answer = [*layout.item_token_ids[single.items[-1]].tolist(), layout.end_id]
    logits = model(torch.tensor([prompt + answer])).logits[0]
    loss = torch.zeros(())
    for n, token in enumerate(answer):
        loss = loss - functional.log_softmax(logits[len(prompt) + n - 1], dim=-1)[token]
    return loss, len(answer)


def some_examples(seed: int, history: int = 6) -> list[HistoryExample]:
    rng = np.random.default_rng(seed)
    users = [rng.integers(20, size=rng.integers(2, 12)).tolist() for _ in range(4)]
    return [example for items in users for example in history_examples(items, history)]


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
@pytest.mark.parametrize("seed", range(3))
def test_equals_a_loop_over_examples(kind: str, seed: int) -> None:
    model = make_model(kind, 100, seed=seed)
    singles = [single for example in some_examples(seed) for single in single_target_examples(example)]
    expected = [naive(model, LAYOUT, single) for single in singles]
    loss, count = answer_loss(model, LAYOUT.collate(singles))
    total = torch.stack([loss for loss, _ in expected]).sum()
    assert int(count) == sum(n for _, n in expected)
    torch.testing.assert_close(loss, total, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(value / count, list(model.parameters())) for value in (loss, total)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    # The same targets as trees: several branches in a sequence; then several trees in a row.
    trees = some_examples(seed)
    assert len(trees) < len(singles)
    for even in (0.0, 1e4):
        batch = replace(LAYOUT, equal_cost_length=even).collate(trees)
        assert (len(batch["input_ids"]) < len(trees)) == bool(even)
        tree_loss, tree_count = answer_loss(model, batch)
        assert int(tree_count) == int(count)
        torch.testing.assert_close(tree_loss, total, rtol=1e-5, atol=1e-5)
        gradient = torch.autograd.grad(tree_loss / count, list(model.parameters()))
        for mine, theirs in zip(gradient, gradients[1], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    mean = mean_loss(model, LAYOUT, singles, 5, torch.device("cpu"))
    assert mean == pytest.approx(float(total.detach()) / int(count), rel=1e-5)


def test_trees_are_tried_on_the_model_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    trees = some_examples(0)
    model = make_model("qwen3", 100)
    assert supports_tree_mask(model, LAYOUT, trees, cpu)
    assert supports_tree_mask(model, replace(LAYOUT, equal_cost_length=1e4), trees, cpu)
    assert not supports_tree_mask(
        model, LAYOUT, [example for tree in trees for example in single_target_examples(tree)], cpu
    )
    # One that looks back only 16 tokens computes something else in a separate example than our mask allows.
    config = make_model("mistral", 100).config
    config.sliding_window = 16
    short = AutoModelForCausalLM.from_config(config).eval()
    assert not supports_tree_mask(short, LAYOUT, trees, cpu)

    def refuses(*_: Any, **more: Any) -> Any:
        if more["attention_mask"].dim() == 4:
            raise ValueError("only 2-dimensional masks")
        return original(*_, **more)

    original = model.forward
    monkeypatch.setattr(model, "forward", refuses)
    assert not supports_tree_mask(model, LAYOUT, trees, cpu)


def test_rows_are_tried_as_long_as_training_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention blind to what lies more than 40 columns back: a tree fits in there, a row of several does not."""
    cpu = torch.device("cpu")
    model = make_model("qwen3", 100)
    trees = some_examples(0, history=3)
    original = model.forward

    def near(*_: Any, **more: Any) -> Any:
        mask = more["attention_mask"]
        if mask.dim() == 4:
            columns = torch.arange(mask.shape[-1])
            far = columns[:, None] - columns > 40
            more["attention_mask"] = mask.masked_fill(far, torch.finfo(mask.dtype).min)
        return original(*_, **more)

    monkeypatch.setattr(model, "forward", near)
    assert max(map(LAYOUT.token_count, trees)) <= 40
    assert supports_tree_mask(model, LAYOUT, trees, cpu)
    assert not supports_tree_mask(model, replace(LAYOUT, equal_cost_length=1e4), trees, cpu)


def test_the_longest_example_with_several_targets_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention blind to what lies more than 40 columns back: of these examples one tree alone reaches further."""
    model = make_model("qwen3", 100)
    monkeypatch.setattr(module, "_TRIED_EXAMPLES", 1)
    near, far = HistoryExample((1, 2, 3), 1), HistoryExample((*range(14), 15), 13)
    longest = HistoryExample(tuple(range(20)), 19)  # a single target, for which the model makes its own mask
    assert LAYOUT.token_count(near) <= 40 < LAYOUT.token_count(far) < LAYOUT.token_count(longest)
    assert supports_tree_mask(model, LAYOUT, [near, far, longest], CPU)
    assert not supports_tree_mask(model, LAYOUT, [], CPU)
    original = model.forward

    def blind(*_: Any, **more: Any) -> Any:
        mask = more["attention_mask"]
        if mask.dim() == 4:
            columns = torch.arange(mask.shape[-1])
            more["attention_mask"] = mask.masked_fill(columns[:, None] - columns > 40, torch.finfo(mask.dtype).min)
        return original(*_, **more)

    monkeypatch.setattr(model, "forward", blind)
    assert supports_tree_mask(model, LAYOUT, [near, longest], CPU)
    assert not supports_tree_mask(model, LAYOUT, [near, far, longest], CPU)


def test_the_trial_pads_nothing_and_its_tolerance_grows_with_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("qwen3", 100)
    original = model.forward

    def large_and_unpadded(*_: Any, **more: Any) -> Any:
        if more["attention_mask"].dim() == 2 and not more["attention_mask"].all():
            raise ValueError("padding")
        outputs = original(*_, **more)
        outputs.logits = outputs.logits * 1e4
        return outputs

    monkeypatch.setattr(model, "forward", large_and_unpadded)
    assert supports_tree_mask(model, LAYOUT, [HistoryExample((1, 2, 3, 4), 1)], CPU)


def test_two_targets_in_a_row_do_not_see_one_another() -> None:
    model = make_model("qwen3", 100)
    example = HistoryExample((1, 2, 3), 1)
    expected = sum(naive(model, LAYOUT, single)[0] for single in single_target_examples(example))
    torch.testing.assert_close(answer_loss(model, LAYOUT.collate([example]))[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
def test_masks_have_the_number_format_of_the_computation(autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("qwen3", 100)
    original, given = model.forward, []

    def record(*_: Any, **more: Any) -> Any:
        given.append((more["attention_mask"].dtype, more["use_cache"], torch.is_autocast_enabled("cpu")))
        assert not autocast or torch.get_autocast_dtype("cpu") == torch.bfloat16
        return original(*_, **more)

    monkeypatch.setattr(model, "forward", record)
    usual = torch.get_autocast_dtype("cpu")
    torch.set_autocast_dtype("cpu", torch.float16)
    try:
        mean_loss(model, LAYOUT, [HistoryExample((1, 2, 3), 1)], 1, CPU, autocast)
    finally:
        torch.set_autocast_dtype("cpu", usual)
    assert given == [(torch.bfloat16 if autocast else torch.float32, False, autocast)]


def test_both_kinds_of_examples_and_the_loss_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("qwen3", 100)
    tree, ordinary = HistoryExample((1, 2, 3), 1), Example([30, 31, 32], [40, 41, 2])
    collator = ExampleCollator(LAYOUT)
    parts = [answer_loss(model, collator.collate([part])) for part in (tree, ordinary)]
    head = find_model_head(model)
    computed, original = [], ModelHead.loss
    monkeypatch.setattr(ModelHead, "loss", lambda *given: computed.append(1) or original(*given))
    for way in (None, head):
        loss, count = answer_loss(model, collator.collate([tree, ordinary]), way)
        torch.testing.assert_close(loss, parts[0][0] + parts[1][0], rtol=1e-5, atol=1e-5)
        assert int(count) == 2 * 4 + 3
    assert len(computed) == 2  # once for each kind


def test_all_tensors_of_a_batch_are_on_the_models_device() -> None:
    model = make_model("qwen3", 100)
    tree, ordinary = HistoryExample((1, 2, 3), 1), Example([30, 31, 32], [40, 41, 2])
    collator, head = ExampleCollator(LAYOUT), find_model_head(model)
    expected = mean_loss(model, collator, [tree, ordinary], 2, CPU)
    with TwoDevices():
        assert mean_loss(model, collator, [tree, ordinary], 2, DEVICE) == pytest.approx(expected, rel=1e-6)
        assert supports_tree_mask(model, LAYOUT, [tree], DEVICE)
        batch = {name: value.to(DEVICE) for name, value in collator.collate([tree]).items()}
        loss, count = answer_loss(model, batch, head)
        assert TwoDevices.is_on_device(loss) and TwoDevices.is_on_device(count)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_trees_in_bfloat16_stay_close(attention: str) -> None:
    model = make_model("llama", 100)
    model.set_attn_implementation(attention)
    trees = some_examples(1)
    expected, count = answer_loss(model, LAYOUT.collate(trees))
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = answer_loss(model, LAYOUT.collate(trees))
    assert float((loss / count).detach()) == pytest.approx(float((expected / count).detach()), rel=0.02)


@dataclass(frozen=True)
class MadeUpPrior:
    """Biases that depend on the history and the target alone."""

    def biases(self, rows: Sequence[Sequence[HistoryExample]], most: int) -> torch.Tensor:
        made = torch.zeros(len(rows), most, 1, 3, 4)
        for number, row in enumerate(rows):
            targets = [e.items[: place + 1] for e in row for place in range(e.first_target, len(e.items))]
            for column, items in enumerate(targets, start=most - len(targets)):
                made[number, column, 0] = bias_of(items)
        return made


def bias_of(items: Sequence[int]) -> torch.Tensor:
    rng = np.random.default_rng([len(items), *items])
    return torch.from_numpy(rng.normal(size=(3, 4)).astype(np.float32))


def test_a_behaviour_prior_is_added_to_the_logits_of_codes() -> None:
    model = make_model("qwen3", 100)
    ids = [np.arange(20 + 20 * level, 24 + 20 * level) for level in range(3)]
    attach(model, PriorWeights(ids, [[0.5, 1.0, 2.0]], opening=0, answer_length=4))
    layout = replace(LAYOUT, prior=MadeUpPrior())
    trees = some_examples(0)
    total: Any = 0.0
    for single in (single for example in trees for single in single_target_examples(example)):
        prompt = layout.prompt(single)
        answer = [*layout.item_token_ids[single.items[-1]].tolist(), layout.end_id]
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        bias = bias_of(single.items)
        added = torch.zeros_like(logits)
        for level, weight in enumerate(find(model).weights[0]):
            added[level, ids[level]] = weight * bias[level]
        total = total - (logits + added).log_softmax(-1)[range(4), answer].sum()
    # The same targets as trees, one in a row and packed.
    for even in (0.0, 1e4):
        loss, count = answer_loss(model, replace(layout, equal_cost_length=even).collate(trees))
        torch.testing.assert_close(loss, total, rtol=1e-5, atol=1e-5)
        gradients = [
            torch.autograd.grad(value / count, list(model.parameters()), retain_graph=True) for value in (loss, total)
        ]
        for mine, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    head = find_model_head(model)
    assert head is not None
    in_chunks, tokens = answer_loss(model, layout.collate(trees), head)
    torch.testing.assert_close(in_chunks, total, rtol=1e-5, atol=1e-5)
    assert int(tokens) == int(count)
    detach(model)
    with pytest.raises(ValueError, match="no weights"):
        answer_loss(model, layout.collate(trees))
