"""Fit all new rows, level by level: a pass of the frozen model, then a regression, then the next level's pass.

Tied head. The head compares hidden states with a row, and the model reads the same row, so the hidden states of level l
depend on the rows of the levels before it. Level 0 has none before it: its problem is exactly Algorithm 1's loss at the
answers' first tokens. Each later level is computed behind the final rows of the levels before it, so its problem is
exact, too, given these rows. What a level cannot do is to move earlier rows because later levels would like that.

Untied head. Hidden states do not depend on the head's rows at all. So one pass collects all places, and the head's rows
of all levels are one convex problem, the end of the turn included. The input rows stay as they are.

Calls `collect`, `problem` and `path`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gti_cli.grounding.nll.corpus import Corpus
from gti_cli.grounding.nll.head_loss import LogitRule
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.regression.collect import collect
from gti_cli.grounding.regression.path import RIDGES, TOLERANCE, PathPoint, solve_path
from gti_cli.grounding.regression.positions import Positions
from gti_cli.grounding.regression.problem import make_problem, unknowns_of
from gti_cli.grounding.trainable_rows import NewRows


@dataclass(frozen=True)
class Source:
    """Examples, and the model that computes them.

    Attributes:
        model: The frozen model with the new rows attached, with the template prefixes of ``corpus``.
        corpus: Examples whose answers are new tokens.
        pad: Token id that fills rows up.
        device: Where to keep hidden states.
    """

    model: GroundingModel
    corpus: Corpus
    pad: int
    device: torch.device

    def places(self) -> int:
        """Number of tokens of the longest answer."""
        return max(len(example.answer) for example in self.corpus.examples)

    def positions(self, place: int, rule: LogitRule) -> Positions:
        """Compute the positions that predict the answers' tokens at one place."""
        return collect(self.model, self.corpus, place, rule, self.pad, self.device)


@dataclass(frozen=True)
class FittedLevel:
    """What one regression did.

    Attributes:
        places: Places of the answers whose tokens it fitted.
        rows: Number of rows fitted.
        positions: Number of positions, those of earlier levels included.
        held_out_positions: Number of positions that chose the ridge.
        best: Number of the point that was kept.
        points: The path of solutions.
    """

    places: list[int]
    rows: int
    positions: int
    held_out_positions: int
    best: int
    points: list[PathPoint]


def fit_levels(
    train: Source,
    held_out: Source,
    rule: LogitRule,
    ridges: Sequence[float] = RIDGES,
    tolerance: float = TOLERANCE,
) -> list[FittedLevel]:
    """Fit the new rows to the examples, and leave them in the model.

    Args:
        train: The examples to fit.
        held_out: Examples that choose the ridge of each level.
        rule: What the model does to its head's output (`nll.head_loss.find_logit_rule`).
        ridges: As in `path.solve_path`.
        tolerance: As in `path.solve_path`.

    Returns:
        The levels in their order.
    """
    rows = train.model.rows
    places = range(train.places())
    steps = [[place] for place in places] if rows.output is None else [list(places)]
    final = torch.zeros(0, dtype=torch.int64)
    fitted, seen, seen_held_out = [], [], []
    for step in steps:
        rows.sync()
        ours = [train.positions(place, rule) for place in step]
        seen += ours
        seen_held_out += [held_out.positions(place, rule) for place in step]
        unknowns = unknowns_of(torch.cat([part.targets for part in ours]).cpu(), final)
        if not len(unknowns):
            continue  # the end of the turn behind a tied head: no new token is predicted there
        matrix = head_rows(rows)
        problem = make_problem(seen, matrix, unknowns, rule)
        held_out_problem = make_problem(seen_held_out, matrix, unknowns, rule)
        path = solve_path(problem, held_out_problem, ridges, tolerance)
        matrix[unknowns.to(matrix.device)] = path.rows
        put_head_rows(rows, matrix)
        final = torch.cat([final, unknowns])
        fitted.append(FittedLevel(step, len(unknowns), len(problem), len(held_out_problem), path.best, path.points))
    rows.sync()
    return fitted


def head_rows(rows: NewRows) -> torch.Tensor:
    """The head's new rows (n, d) float64, or (n, d + 1) with their biases behind them; a copy."""
    matrix = (rows.embedding if rows.output is None else rows.output).detach().double()
    return matrix.clone() if rows.bias is None else torch.cat([matrix, rows.bias.detach().double()[:, None]], dim=1)


@torch.no_grad()
def put_head_rows(rows: NewRows, matrix: torch.Tensor) -> None:
    """Write what `head_rows` returned back; with a tied head these are the input rows, too."""
    parameter = rows.embedding if rows.output is None else rows.output
    parameter.copy_(matrix[:, : parameter.shape[1]])
    if rows.bias is not None:
        rows.bias.copy_(matrix[:, -1])
