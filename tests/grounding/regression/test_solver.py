"""The solver reaches the stationary point, and its limits are the start and the answer known by hand."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from gti_cli.grounding.nll.head_loss import LogitRule
from gti_cli.grounding.regression import solver
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


def test_coordinates_by_hand() -> None:
    problem = regression_of(0, 60, True, LogitRule(0.25))
    found = Coordinates.of(problem)
    moments = problem.second_moments()
    torch.testing.assert_close(found.axes @ found.moments.diag() @ found.axes.T, moments / 16)
    assert torch.equal(found.shares, problem.shares())
    shares = torch.bincount(problem.targets[problem.targets >= 0], minlength=5) / 60
    mean = float(moments.trace()) / len(moments) / 16
    assert found.typical_curvature() == pytest.approx(float(shares.double().mean()) * mean)
    by_hand = Coordinates(torch.eye(3).double(), torch.tensor([4.0, 1.0, 0.0]).double(), torch.tensor([0.5, 0.25]))
    squares = [[2.5, 1.0, 0.5], [1.5, 0.75, 0.5]]
    torch.testing.assert_close(by_hand.scales(0.5) ** 2, torch.tensor(squares, dtype=torch.float64))
    squares = [[2.0, 0.5, 2e-5], [1.0, 0.25, 2e-5]]  # where states do not vary: a share of the largest
    torch.testing.assert_close(by_hand.scales(0.0) ** 2, torch.tensor(squares, dtype=torch.float64))


def test_it_stops_where_it_was_told_and_asks_scipy_for_what_scipy_knows() -> None:
    problem = regression_of(0, 100, True, LogitRule())
    norm = float(problem.value_and_gradient(problem.start)[1].norm())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # scipy warns of options that a method does not have
        solution = solve(problem, problem.start, 0.1 * norm)
    assert solution.converged and 1e-3 * norm < solution.gradient <= 0.1 * norm


class Counted(Regression):
    """A problem that counts passes over its hidden states."""

    passes: ClassVar[Counter[str]] = Counter()

    def value_and_gradient(self, rows: torch.Tensor) -> tuple[float, torch.Tensor]:
        self.passes["gradient"] += 1
        return super().value_and_gradient(rows)

    def hessian_product(self, rows: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
        self.passes["hessian"] += 1
        return super().hessian_product(rows, direction)


def gives_up(steps: int) -> Any:
    """L-BFGS whose line search finds nothing behind the first point."""
    return lambda scaled, point, **_: SimpleNamespace(x=(scaled(point), point)[1], nit=steps)


@pytest.mark.parametrize("far", [0.0, 3.0])
def test_newton_steps_alone_reach_the_solution(monkeypatch: pytest.MonkeyPatch, far: float) -> None:
    problem = Counted(**vars(regression_of(2, 60, True, LogitRule(0.5), ridge=0.02)))
    begin = problem.start + far * torch.randn(problem.start.shape, generator=torch.Generator().manual_seed(0)).double()
    norm = float(problem.value_and_gradient(begin)[1].norm())
    expected = solve(problem, begin, 1e-9 * norm)
    monkeypatch.setattr("scipy.optimize.minimize", gives_up(3))
    problem.passes.clear()
    told: list[int] = []
    found = solve(problem, begin, 1e-7 * norm, told=lambda: told.append(1))
    assert found.converged and found.gradient == pytest.approx(float(problem.value_and_gradient(found.rows)[1].norm()))
    torch.testing.assert_close(found.rows, expected.rows, rtol=0, atol=1e-5)
    assert 3 < found.steps <= 13
    # The last call is the test's own. A point that was evaluated last is not evaluated again.
    assert found.evaluations == len(told) == problem.passes.total() - 1
    assert problem.passes["gradient"] - 1 >= found.steps - 3 + 1


def test_as_many_newton_steps_as_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = regression_of(2, 60, True, LogitRule(), ridge=0.02)
    monkeypatch.setattr(solver, "_MOST_NEWTON_STEPS", 2)
    for steps, expected in ((0, 2), (3, 5), (500, 500)):
        monkeypatch.setattr("scipy.optimize.minimize", gives_up(steps))
        assert solve(problem, problem.start, 0.0).steps == expected


def test_a_step_too_far_is_halved_until_the_gradient_is_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hessian that is given eight times too small makes each step eight times too long."""
    problem = regression_of(2, 60, True, LogitRule(), ridge=0.02)
    close = solve(problem, problem.start, 1e-3 * float(problem.value_and_gradient(problem.start)[1].norm()))
    true = Regression.hessian_product
    monkeypatch.setattr("scipy.optimize.minimize", gives_up(0))
    monkeypatch.setattr(Regression, "hessian_product", lambda *given: true(*given) / 8)
    monkeypatch.setattr(solver, "_MOST_NEWTON_STEPS", 3)
    halved = solve(problem, close.rows, 0.0)
    assert halved.steps == 3 and halved.gradient < 0.1 * close.gradient
    # No number of halvings helps against a direction that leads away: the rows stay.
    monkeypatch.setattr(Regression, "hessian_product", lambda *given: -true(*given))
    away = solve(problem, close.rows, 0.0)
    assert away.steps == 0 and not away.converged and torch.equal(away.rows, close.rows)
    assert away.gradient == pytest.approx(close.gradient)


def test_rows_without_a_position_have_a_share_of_zero() -> None:
    problem = regression_of(0, 40, False, LogitRule())
    without = replace(problem, targets=torch.where(problem.targets == 4, -1, problem.targets))
    assert without.shares().tolist() == [*problem.shares().tolist()[:4], 0.0]
