"""The loss in chunks against torch's own, in value, gradient and memory."""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from gti_cli.grounding.nll.batches import Collator
from gti_cli.grounding.nll.corpus import divide_examples
from gti_cli.grounding.nll.head_loss import LogitRule, find_logit_rule, head_loss
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.training.lora import Adapters
from tests.support.grounding import MODELS, NEW_IDS, examples_of, masked_loss, model_of
from tests.support.head_memory import measure_peak


def plain(hidden: Any, rows: NewRows, targets: Any, rule: LogitRule) -> Any:
    """Loss and gradients by autograd over the whole matrix, in float64."""
    head = rows.head
    inputs = [hidden.detach(), head.weight, *([head.bias] if head.bias is not None else [])]
    inputs = [tensor.detach().double().requires_grad_(True) for tensor in inputs]
    logits = functional.linear(inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None) * rule.scale
    if rule.cap is not None:
        logits = torch.tanh(logits / rule.cap) * rule.cap
    loss = functional.cross_entropy(logits, targets, reduction="sum")
    gradients = torch.autograd.grad(loss, inputs)
    return loss, gradients[0], [g[NEW_IDS] for g in gradients[1:]], logits.argmax(1)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(1, 40),
    st.integers(1, 4000),
    st.sampled_from([("qwen3", False), ("qwen3", True), ("phi", False)]),
    st.sampled_from([LogitRule(), LogitRule(0.25), LogitRule(1.0, 5.0), LogitRule(2.0, 3.0)]),
)
def test_equals_the_plain_loss(seed: int, count: int, at_once: int, kind: tuple[str, bool], rule: LogitRule) -> None:
    rows = NewRows(model_of(*kind), NEW_IDS)
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, 32, generator=generator).requires_grad_(True)
    targets = torch.randint(72, (count,), generator=generator)
    loss, best = head_loss(hidden, rows, targets, rule, at_once)
    (loss * 0.5).backward()
    expected, of_hidden, of_rows, expected_best = plain(hidden, rows, targets, rule)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    torch.testing.assert_close(hidden.grad.double(), of_hidden * 0.5, rtol=0, atol=2e-6)
    matrix = rows.embedding if rows.output is None else rows.output
    torch.testing.assert_close(matrix.grad.double(), of_rows[0] * 0.5, rtol=1e-5, atol=5e-6)
    if rows.bias is not None:
        torch.testing.assert_close(rows.bias.grad.double(), of_rows[1] * 0.5, rtol=1e-5, atol=5e-6)
    assert torch.equal(best, expected_best)


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_every_model_has_a_rule_that_is_tried_out(kind: str, tied: bool) -> None:
    model = model_of(kind, tied)
    rows = NewRows(model, NEW_IDS)
    with rows.attached():
        found = find_logit_rule(model, rows)
    assert found == LogitRule(getattr(model.config, "logit_scale", None) or 1.0, {"gemma2": 5.0}.get(kind))


def test_a_model_with_a_rule_of_its_own_keeps_its_own_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    examples, templates, groups = examples_of(12)
    model = model_of("gemma2")
    model.config.final_logit_softcapping = 5.0
    monkeypatch.setattr(LogitRule, "__call__", lambda self, logits: logits)  # as if gti did not know the cap
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, groups, set(NEW_IDS.tolist()))
    trained = GroundingModel(model, rows, corpus.prefixes)
    with rows.attached():
        assert find_logit_rule(model, rows) is None
        loss, count = trained(**Collator(corpus, 0)(range(12)))
    assert float((loss / count).detach()) == pytest.approx(float(masked_loss(model, examples).detach()), abs=1e-5)


def test_the_trial_is_without_dropout_and_draws_no_random_number() -> None:
    model = model_of("qwen3")
    rows = NewRows(model, NEW_IDS)
    adapters = Adapters(model, rank=2, alpha=4, dropout=0.5)
    torch.nn.init.normal_(adapters.parts[0][1].weight)  # else they add nothing, whatever is dropped
    corpus = divide_examples(*examples_of(4), set(NEW_IDS.tolist()), whole=True)
    trained = GroundingModel(model, rows, corpus.prefixes, adapters).train()
    batch = Collator(corpus, 0)(range(4))
    with rows.attached():
        losses = []
        for _ in range(2):  # the second call makes no trial
            torch.manual_seed(0)
            losses.append(float(trained(**batch)[0].detach()))
    assert trained._rule == LogitRule() and adapters.training
    assert losses[0] == losses[1]


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads Linux's own account of memory")
def test_memory_does_not_grow_with_positions_times_vocabulary() -> None:
    context = get_context("spawn")
    results = context.Queue()
    found = {}
    for way in ("plain", "chunks"):
        process = context.Process(target=measure_peak, args=(way, results))
        process.start()
        found[way] = results.get(timeout=60)
        process.join()
    logits = 512 * 131_072 * 4
    assert found["plain"] > 1.5 * logits  # the measure sees what it should
    assert found["chunks"] < 0.5 * logits, found
