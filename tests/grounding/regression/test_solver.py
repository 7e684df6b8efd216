"""The solver reaches the stationary point, and its limits are the start and the answer known by hand."""

from __future__ import annotations

import math

import pytest
import torch

from gti_cli.grounding.nll.head_loss import LogitRule
from gti_cli.grounding.regression.objective import Regression
from gti_cli.grounding.regression.solver import Coordinates, solve
from tests.support.regression import RULES, regression_of


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("ridge", [0.0, 0.05])
def test_the_gradient_vanishes(rule: LogitRule, ridge: float) -> None:
    problem = regression_of(0, 100, True, rule, ridge=ridge)
    value, gradient = problem.value_and_gradient(problem.start)
    solution = solve(problem, problem.start, 1e-5 * float(gradient.norm()))
    value_there, gradient_there = problem.value_and_gradient(solution.rows)
    assert solution.converged and gradient_there.norm() <= 1e-5 * gradient.norm()
    assert solution.objective == value_there < value
    assert solution.gradient == pytest.approx(float(gradient_there.norm()))
    assert solution.steps < solution.evaluations < 200


def test_frequencies_by_hand() -> None:
    """One state of length 1 and two unknowns: each token's probability is its share."""
    ones = torch.ones(10, 1, dtype=torch.float64)
    targets = torch.tensor([0] * 2 + [1] * 3 + [-1] * 5)
    zeros = torch.zeros(10, dtype=torch.float64)
    problem = Regression(ones, zeros, targets, zeros, torch.zeros(2, 1, dtype=torch.float64))
    solution = solve(problem, problem.start, 1e-9)
    # The other tokens have log-sum-exp 0, that is weight 1, and a share of 5/10.
    expected = torch.tensor([[math.log(2 / 5)], [math.log(3 / 5)]], dtype=torch.float64)
    torch.testing.assert_close(solution.rows, expected, rtol=0, atol=1e-7)


def test_a_ridge_without_end_keeps_the_start() -> None:
    problem = regression_of(0, 50, False, LogitRule())
    distances = []
    for ridge in (1e-2, 1.0, 1e2, 1e6):
        solution = solve(problem.with_ridge(ridge), problem.start, 1e-8)
        assert solution.converged
        distances.append(float((solution.rows - problem.start).norm()))
    assert distances == sorted(distances, reverse=True) and distances[-1] < 1e-5


def test_the_way_there_does_not_change_a_convex_problems_solution() -> None:
    problem = regression_of(2, 60, False, LogitRule(), ridge=0.01)
    far = problem.start + torch.randn(problem.start.shape, generator=torch.Generator().manual_seed(0))
    one, two = (solve(problem, rows, 1e-9).rows for rows in (problem.start, far))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-6)


def test_few_steps_are_not_called_converged() -> None:
    problem = regression_of(0, 300, True, LogitRule())
    solution = solve(problem, problem.start, 1e-9, most_steps=2)
    assert not solution.converged and solution.steps == 2


def test_narrow_hidden_states_cost_no_more_steps() -> None:
    """States in a cone whose moments differ by 10^4: the coordinates take that out."""
    problem = regression_of(0, 100, False, LogitRule())
    stretch = torch.logspace(0, 2, problem.states.shape[1], dtype=torch.float64)
    narrow = Regression(
        problem.states * stretch,
        problem.others,
        problem.targets,
        problem.target_logits,
        problem.start / stretch,
    )
    coordinates = Coordinates.of(narrow)
    plain = Coordinates(torch.eye(8, dtype=torch.float64), torch.ones(8, dtype=torch.float64), coordinates.shares)
    steps = []
    for each, axes in ((problem, None), (narrow, coordinates), (narrow, plain)):
        norm = float(each.value_and_gradient(each.start)[1].norm())
        steps.append(solve(each, each.start, 1e-4 * norm, axes).steps)
    assert steps[1] <= steps[0] + 5 and steps[2] > 2 * steps[1]
