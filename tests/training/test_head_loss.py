"""The loss of a head that trains as a whole, in chunks, against torch's own over all logits at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from gti_cli.training import head_loss as module
from gti_cli.training.head_loss import AddedLogits, HeadTensors, LogitRule, chunked_loss, verified_rule

RULES = [LogitRule(), LogitRule(0.25), LogitRule(1.0, 5.0), LogitRule(2.0, 3.0)]


def made(seed: int, count: int, biased: bool, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Hidden states, matrix, bias, targets, values and token ids of what is added."""
    random = torch.Generator().manual_seed(seed)
    hidden, weight, bias, values = (
        torch.randn(*shape, generator=random, dtype=dtype).requires_grad_(True)
        for shape in ((count, 8), (30, 8), (30,), (count, 4))
    )
    targets = torch.randint(30, (count,), generator=random)
    ids = torch.randint(30, (count, 4), generator=random)  # some stand twice
    return [hidden, weight, bias if biased else None, targets, values, ids]  # type: ignore[list-item]


def plain(rule: LogitRule, hidden: torch.Tensor, weight: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
    bias, targets, values, ids = rest
    logits = functional.linear(hidden, weight, bias) * rule.scale
    if rule.cap is not None:
        logits = torch.tanh(logits / rule.cap) * rule.cap
    return functional.cross_entropy(logits.scatter_add(1, ids, values), targets, reduction="sum")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 20), st.integers(1, 300), st.booleans(), st.sampled_from(RULES))
def test_equals_the_plain_loss(seed: int, count: int, at_once: int, biased: bool, rule: LogitRule) -> None:
    hidden, weight, bias, targets, values, ids = made(seed, count, biased)
    head = HeadTensors(weight, bias, weight, bias, None)
    (chunked_loss(hidden, head, targets, rule, at_once, AddedLogits(values, ids))[0] * 0.5).backward()
    others = [None if part is None else part.detach().double() for part in (hidden, weight, bias, values)]
    exact = [part.requires_grad_(True) for part in others if part is not None]
    x, w, *b, v = exact
    (plain(rule, x, w, b[0] if b else None, targets, v, ids) * 0.5).backward()  # type: ignore[arg-type]
    for mine, theirs in zip((part for part in (hidden, weight, bias, values) if part is not None), exact, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-5, atol=1e-5, check_dtype=False)


@pytest.mark.parametrize("biased", [True, False])
def test_under_autocast_products_are_bfloat16_and_sums_float32(biased: bool) -> None:
    hidden, weight, bias, targets, values, ids = made(0, 20, biased)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = chunked_loss(hidden, HeadTensors(weight, bias, weight, bias, None), targets, LogitRule(), 90)
    loss.backward()
    expected = plain(LogitRule(), hidden, weight, bias, targets, torch.zeros_like(values), ids)
    trained = [part for part in (hidden, weight, bias) if part is not None]
    gradients = torch.autograd.grad(expected, trained)
    assert loss.dtype == torch.float32 and loss.item() != expected.item()
    assert loss.item() == pytest.approx(expected.item(), rel=0.02)
    for mine, theirs in zip(trained, gradients, strict=True):
        assert mine.grad.dtype == torch.float32  # type: ignore[union-attr]
        assert float((mine.grad - theirs).norm() / theirs.norm()) < 0.02


def test_under_autocast_the_sums_over_chunks_lose_nothing() -> None:
    """300 chunks of one position: sums in bfloat16 would be off by more than 1 %."""
    gradients = []
    for at_once in (1, 10**6):
        hidden, weight, _, targets, *_ = made(0, 300, False)
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = chunked_loss(hidden, HeadTensors(weight, None, weight, None, None), targets, LogitRule(), at_once)
        gradients.append(torch.autograd.grad(loss, weight)[0])
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 0.005


def test_no_more_logits_at_once_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, _, targets, *_ = made(0, 7, False)
    chunks: list[int] = []
    linear = functional.linear

    def counted(*given: Any) -> torch.Tensor:
        """The head's product, whose positions are counted."""
        chunks.append(len(given[0]))
        return linear(*given)

    monkeypatch.setattr(module.functional, "linear", counted)
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", {"cpu": 110})
    for at_once, expected in ((None, [3, 3, 1]), (65, [2, 2, 2, 1]), (1, [1] * 7), (10**6, [7])):
        chunks.clear()
        chunked_loss(hidden, HeadTensors(weight, None, weight, None, None), targets, LogitRule(), at_once)
        assert chunks == expected


@pytest.mark.parametrize("rule", RULES)
def test_the_gradient_of_some_rows_is_theirs_of_the_whole_head(rule: LogitRule) -> None:
    hidden, weight, bias, targets, values, ids = made(3, 11, True)
    chosen = torch.tensor([29, 4, 17])
    rows, bias_rows = (part.detach()[chosen].requires_grad_(True) for part in (weight, bias))
    head = HeadTensors(rows, bias_rows, weight, bias, chosen)
    loss, _ = chunked_loss(hidden, head, targets, rule, 65, AddedLogits(values, ids))  # two positions at a time
    mine = torch.autograd.grad(loss * 0.5, [hidden, values, rows, bias_rows])
    expected = plain(rule, hidden, weight, bias, targets, values, ids)
    theirs = list(torch.autograd.grad(expected * 0.5, [hidden, values, weight, bias]))
    theirs[2:] = [part[chosen] for part in theirs[2:]]
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_second_backward_pass_is_refused() -> None:
    hidden, weight, _, targets, *_ = made(0, 5, False)
    loss, _ = chunked_loss(hidden, HeadTensors(weight, None, weight, None, None), targets, LogitRule())
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass only"):
        loss.backward()


@pytest.mark.parametrize("at_once", [None, 1, 90])
def test_without_gradients_the_same_loss_and_the_most_probable_tokens(at_once: int | None) -> None:
    hidden, weight, bias, targets, values, ids = made(1, 20, True)
    head = HeadTensors(weight, bias, weight, bias, None)
    with torch.no_grad():
        loss, best = chunked_loss(hidden, head, targets, LogitRule(), at_once, AddedLogits(values, ids))
    expected = plain(LogitRule(), hidden, weight, bias, targets, values, ids)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-6, atol=0)
    assert torch.equal(best, functional.linear(hidden, weight, bias).scatter_add(1, ids, values).argmax(1))


@pytest.mark.parametrize("rule", RULES)
def test_the_rules_derivatives_are_those_of_autograd(rule: LogitRule) -> None:
    product = torch.linspace(-9, 9, 50, dtype=torch.float64, requires_grad=True)
    result = rule(product)
    expected = product * rule.scale
    expected = expected if rule.cap is None else rule.cap * (expected / rule.cap).tanh()
    torch.testing.assert_close(result, expected)
    (slope,) = torch.autograd.grad(expected.sum(), product, create_graph=True)
    mine = rule.slope(result)
    assert (mine is None) == (rule == LogitRule())
    torch.testing.assert_close(torch.ones(()).double() if mine is None else mine, slope if rule.cap else slope[0])
    curvature = rule.curvature(result)
    assert (curvature is None) == (rule.cap is None)
    if curvature is not None:
        torch.testing.assert_close(curvature, torch.autograd.grad(slope.sum(), product)[0])


def config_of(**given: Any) -> Any:
    return SimpleNamespace(get_text_config=lambda: SimpleNamespace(**given))


@pytest.mark.parametrize(
    ("given", "scale", "cap"),
    [
        ({}, 1.0, None),
        ({"logit_scale": None, "logits_scaling": None, "final_logit_softcapping": None}, 1.0, None),
        ({"logit_scale": 0.25}, 0.25, None),
        ({"logits_scaling": 8.0}, 0.125, None),
        ({"logit_scale": 3.0, "logits_scaling": 2.0, "final_logit_softcapping": 5.0}, 1.5, 5.0),
    ],
)
def test_a_models_rule_is_read_and_compared(given: dict[str, Any], scale: float, cap: float | None) -> None:
    product = torch.randn(4, 30, generator=torch.Generator().manual_seed(0))
    logits = product * scale
    logits = logits if cap is None else cap * (logits / cap).tanh()
    for dtype, rounding, other in ((torch.float32, 5e-6, 2e-5), (torch.bfloat16, 2e-3, 6e-2)):
        theirs = verified_rule(config_of(**given), product.to(dtype), logits.to(dtype) + rounding * logits.std())
        exact = logits if dtype == torch.float32 else logits.to(dtype).float()
        assert theirs == LogitRule(scale, cap)
        assert verified_rule(config_of(**given), product.to(dtype), exact + other * logits.std()) is None
