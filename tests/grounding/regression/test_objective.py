"""Loss, gradient and Hessian in closed form, against autograd of a plain softmax and finite differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.grounding.nll.head_loss import LogitRule
from tests.support.regression import (
    OLD_ROWS,
    RULES,
    head_of,
    plain_loss,
    plain_ridge,
    regression_of,
    rows_of,
    states_of,
)

KINDS = st.tuples(st.integers(0, 1000), st.integers(1, 25), st.booleans(), st.sampled_from(RULES))


@settings(max_examples=15, deadline=None)
@given(KINDS, st.integers(1, 60), st.sampled_from([0.0, 0.7]))
def test_equals_the_plain_softmax(kind: tuple[int, int, bool, LogitRule], at_once: int, ridge: float) -> None:
    seed, count, biased, rule = kind
    problem = regression_of(*kind, ridge=ridge, at_once=at_once)
    weight, bias = head_of(seed, biased)
    # Away from the start, so that the ridge shows.
    weight[OLD_ROWS:] += 0.1
    inputs = [weight.requires_grad_(True), *([bias.requires_grad_(True)] if bias is not None else [])]
    loss = plain_loss(*states_of(seed, count), weight, bias, rule)
    gradients = torch.autograd.grad(loss, inputs)
    rows = rows_of(weight.detach(), None if bias is None else bias.detach())
    moved = (rows - problem.start).requires_grad_(True)
    pull = plain_ridge(moved) * ridge / 2
    value, gradient = problem.value_and_gradient(rows)
    assert problem.loss(rows) == pytest.approx(float(loss.detach()), rel=1e-12)
    assert value == pytest.approx(float(loss.detach()) + float(pull.detach()), rel=1e-12)
    expected = rows_of(gradients[0], gradients[1] if biased else None) + torch.autograd.grad(pull, moved)[0]
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(KINDS, st.sampled_from([0.0, 0.7]))
def test_hessian_is_the_change_of_the_gradient(kind: tuple[int, int, bool, LogitRule], ridge: float) -> None:
    problem = regression_of(*kind, ridge=ridge, at_once=30)
    direction = torch.randn(problem.start.shape, generator=torch.Generator().manual_seed(kind[0]), dtype=torch.float64)
    step = 1e-5
    ahead, behind = (problem.value_and_gradient(problem.start + sign * step * direction)[1] for sign in (1, -1))
    product = problem.hessian_product(problem.start, direction)
    torch.testing.assert_close(product, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-7)


@settings(max_examples=20, deadline=None)
@given(KINDS, st.floats(0.1, 20))
def test_no_midpoint_lies_above_its_chord(kind: tuple[int, int, bool, LogitRule], size: float) -> None:
    problem = regression_of(*kind)
    problem = problem.with_ridge(problem.ridge_for_convexity())
    assert (problem.ridge == 0) == (kind[3].cap is None)
    generator = torch.Generator().manual_seed(kind[0] + 7)
    a, b = (torch.randn(problem.start.shape, generator=generator, dtype=torch.float64) * size for _ in range(2))
    ends = (problem.value_and_gradient(a)[0] + problem.value_and_gradient(b)[0]) / 2
    assert problem.value_and_gradient((a + b) / 2)[0] <= ends + 1e-9 * max(1, abs(ends))


def test_positions_of_other_processes_count_as_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a second process held the same positions: all means stay what they are."""
    alone = regression_of(0, 20, True, LogitRule(2.0, 3.0), ridge=0.3, at_once=30)
    shared = replace(alone, count=40)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda sums: sums.mul_(2))
    rows, direction = alone.start + 0.1, torch.linspace(-1, 1, alone.start.numel()).double().view_as(alone.start)
    assert (len(alone), len(shared)) == (20, 40)
    assert shared.loss(rows) == pytest.approx(alone.loss(rows), rel=1e-12)
    for one, other in (
        (shared.value_and_gradient(rows), alone.value_and_gradient(rows)),
        (shared.hessian_product(rows, direction), alone.hessian_product(rows, direction)),
        (shared.second_moments(), alone.second_moments()),
        (shared.shares(), alone.shares()),
        (shared.ridge_for_convexity(), alone.ridge_for_convexity()),
    ):
        torch.testing.assert_close(one, other)
    shares = [float((alone.targets == number).sum()) / 20 for number in range(5)]
    assert alone.shares().tolist() == pytest.approx(shares) and 0 < sum(shares) < 1


def test_a_cap_alone_is_not_convex() -> None:
    """The bound of the test above is needed: without its ridge, a curvature is negative."""
    problem = regression_of(0, 20, False, LogitRule(2.0, 3.0))
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(20, *problem.start.shape, generator=generator, dtype=torch.float64)
    rows = -3 * problem.states.mean(0).expand_as(problem.start)
    assert min(float((v * problem.hessian_product(rows, v)).sum()) for v in directions) < -1e-3


def test_float32_states_keep_six_digits() -> None:
    problem = regression_of(1, 200, True, LogitRule())
    rounded = type(problem)(problem.states.float(), *list(vars(problem).values())[1:])
    value, gradient = problem.value_and_gradient(problem.start)
    their_value, their_gradient = rounded.value_and_gradient(problem.start)
    assert their_value == pytest.approx(value, rel=1e-6)
    torch.testing.assert_close(their_gradient, gradient, rtol=1e-5, atol=1e-6)


def test_states_of_few_bits_are_computed_in_float32() -> None:
    problem = regression_of(1, 200, True, LogitRule())
    half = replace(problem, states=problem.states[:].bfloat16())
    exact = replace(problem, states=half.states[:].double())
    assert half.loss(problem.start) == pytest.approx(exact.loss(problem.start), rel=1e-6)


def test_second_moments_see_the_bias_as_a_one() -> None:
    problem = regression_of(1, 9, True, LogitRule(), at_once=20)
    states = torch.cat([problem.states, torch.ones(9, 1, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(problem.second_moments(), states.T @ states / 9)


def test_the_ridge_for_convexity_is_the_steepest_curvature_times_the_largest_moment() -> None:
    rule = LogitRule(3.0, 2.0)
    problem = regression_of(1, 30, False, rule)
    product = torch.linspace(-3, 3, 60_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(rule(product).sum(), product, create_graph=True)
    steepest = float(torch.autograd.grad(slope.sum(), product)[0].abs().max())
    largest = float(torch.linalg.svdvals(problem.states[:])[0]) ** 2 / 30
    assert problem.ridge_for_convexity() == pytest.approx(steepest * largest * (5 + 1), rel=1e-6)
