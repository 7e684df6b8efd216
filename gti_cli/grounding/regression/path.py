"""Choose the weight of the ridge: solve from strong to weak, and keep what predicts held-out positions best.

Each solution is where the next begins, so a path costs little more than its last solution. Hidden states do not depend
on the rows that are solved for, so the loss on held-out positions needs no pass of the model either.

Comes after `problem`; calls `solver`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from gti_cli.grounding.regression.objective import Regression
from gti_cli.grounding.regression.solver import Coordinates, solve

# Weights of the ridge, in units of `Coordinates.typical_curvature`.
RIDGES = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4)
# The weight where nothing is held out that could choose one.
RIDGE_UNSEEN = 0.3
TOLERANCE = 1e-3  # share of the gradient's norm at the start, without a ridge, that a solution may have left


@dataclass(frozen=True)
class PathPoint:
    """The solution for one ridge.

    Attributes:
        ridge: Weight of the ridge; infinite for the start.
        loss: Mean loss of the positions that were fitted, in nats, without the ridge.
        held_out_loss: Mean loss of the held-out positions, in nats (None: nothing is held out).
        steps: Steps of the solver from the solution before.
        evaluations: Passes over the hidden states that these took.
        gradient: Norm of the objective's gradient as a share of the start's.
        converged: Whether the solver reached the tolerance.
    """

    ridge: float
    loss: float
    held_out_loss: float | None
    steps: int
    evaluations: int
    gradient: float
    converged: bool


@dataclass(frozen=True)
class RidgePath:
    """The solutions for several ridges.

    Attributes:
        rows: (n, w) float64. Those with the lowest held-out loss; the start's if no solution is better. Where nothing
            is held out, those of the last ridge.
        best: Number of the point that has them.
        points: The start, then one point for each ridge that was tried.
    """

    rows: torch.Tensor
    best: int
    points: list[PathPoint]


def solve_path(
    problem: Regression,
    held_out: Regression | None,
    ridges: Sequence[float] = RIDGES,
    tolerance: float = TOLERANCE,
    begin: torch.Tensor | None = None,
    told: Callable[[PathPoint], None] = lambda _: None,
) -> RidgePath:
    """Solve a problem for falling weights of the ridge, until the held-out loss rises.

    Args:
        problem: The problem, without a ridge.
        held_out: The same unknowns at other positions (None: there are none, and all ridges are solved).
        ridges: Weights in units of `Coordinates.typical_curvature`, from the largest to the smallest.
        tolerance: Norm of the gradient to reach, as a share of the start's norm.
        begin: (n, w) rows at which the solver begins: those of a similar problem, say (None: at the start).
        told: Called with each point of a ridge as soon as it is solved.

    Returns:
        The path. With a soft cap, large ridges make the problem convex (`Regression.ridge_for_convexity`); the later
        solutions are then the stationary points that lie on the way from the convex problem's only one.
    """
    coordinates = Coordinates.of(problem)
    unit = coordinates.typical_curvature()
    _, gradient = problem.with_ridge(0.0).value_and_gradient(problem.start)
    at_start = float(gradient.norm())
    best_rows = problem.start
    points = [PathPoint(float("inf"), problem.loss(best_rows), _loss(held_out, best_rows), 0, 1, 1.0, True)]
    rows = problem.start if begin is None else begin
    best = 0
    for factor in ridges:
        solution = solve(problem.with_ridge(factor * unit), rows, tolerance * at_start, coordinates)
        rows = solution.rows
        points.append(
            PathPoint(
                factor * unit,
                problem.loss(rows),
                _loss(held_out, rows),
                solution.steps,
                solution.evaluations,
                solution.gradient / at_start if at_start else 0.0,
                solution.converged,
            )
        )
        told(points[-1])
        ours, lowest = points[-1].held_out_loss, points[best].held_out_loss
        if ours is not None and lowest is not None and not ours < lowest:
            break  # Held-out losses fall, then rise; weaker ridges are the dear ones.
        best, best_rows = len(points) - 1, rows
    return RidgePath(best_rows, best, points)


def _loss(held_out: Regression | None, rows: torch.Tensor) -> float | None:
    return None if held_out is None else held_out.loss(rows)
