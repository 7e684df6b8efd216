"""A path of ridges: what is kept is what held-out positions like best."""

from __future__ import annotations

import pytest
import torch

from gti_cli.grounding.nll.head_loss import LogitRule
from gti_cli.grounding.regression.path import solve_path
from gti_cli.grounding.regression.solver import Coordinates
from tests.support.regression import regression_of


def test_keeps_the_lowest_held_out_loss_and_stops_behind_it() -> None:
    problem, held_out = regression_of(0, 40, False, LogitRule()), regression_of(0, 41, False, LogitRule())
    # Other targets at the same kind of states: fitting the few positions to the end is learning by heart.
    path = solve_path(problem, held_out, ridges=(1e3, 10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5))
    losses = [point.held_out_loss for point in path.points]
    assert 0 < path.best == losses.index(min(losses))
    assert len(path.points) in (path.best + 2, 9)
    assert held_out.loss(path.rows) == losses[path.best]
    fitted = [point.loss for point in path.points]
    assert fitted == sorted(fitted, reverse=True)  # a weaker ridge fits better
    unit = Coordinates.of(problem).typical_curvature()
    assert [point.ridge for point in path.points[1:3]] == pytest.approx([1e3 * unit, 10 * unit])
    assert all(point.converged and point.gradient <= 1e-3 for point in path.points[1:])


def test_a_start_that_is_better_stays() -> None:
    problem = regression_of(0, 40, False, LogitRule())
    # Held-out positions that the start predicts with certainty.
    certain = regression_of(0, 40, False, LogitRule())
    certain.others.fill_(-1e3)
    targets = (certain.states @ certain.start.T).argmax(1)
    held_out = type(certain)(certain.states, certain.others, targets, certain.target_logits, certain.start * 50)
    sharp = type(problem)(problem.states, problem.others, problem.targets, problem.target_logits, problem.start * 50)
    path = solve_path(sharp, held_out, ridges=(10.0, 1.0, 0.1))
    assert path.best == 0 and torch.equal(path.rows, sharp.start) and len(path.points) == 2


def test_where_the_solver_begins_does_not_matter_to_a_convex_problem() -> None:
    problem, held_out = regression_of(0, 40, False, LogitRule()), regression_of(3, 40, False, LogitRule())
    begin = torch.ones_like(problem.start)
    one, two = (solve_path(problem, held_out, (0.5,), 1e-8, each) for each in (None, begin))
    assert one.points[0] == two.points[0]  # the start is measured, wherever the solver begins
    assert one.points[1].loss == pytest.approx(two.points[1].loss, rel=1e-7)
