"""Fit all new rows, level by level: a pass of the frozen model, then a regression, then the next level's pass.

Tied head. The head compares hidden states with a row, and the model reads the same row, so the hidden states of level l
depend on the rows of the levels before it. Level 0 has none before it: its problem is exactly Algorithm 1's loss at the
answers' first tokens. Each later level is computed behind the final rows of the levels before it, so its problem is
exact, too, given these rows. What a level cannot do is to move earlier rows because later levels would like that.

Looking ahead. At later places, and above all at the end of the turn, whose row is frozen, the rows of a level compete,
too. What has been fitted nowhere else would be probable there. So a level's problem covers the later places as well,
behind the rows of the start: what a hidden state knows of its place does not depend much on the rows before it.

End of the turn. Its token is old, so with a tied head no row can be fitted to it. But the last level's rows compete
with it, and their problem has not seen its positions: they would go on to be probable there. Its hidden states stand
behind these very rows. So the last level is fitted again with the end's positions behind the rows as they are, several
times; the rows whose held-out loss is lowest, measured behind themselves, stay.

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

ROUNDS_OF_ENDING = 3


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
    look_ahead: bool = True,
) -> list[FittedLevel]:
    """Fit the new rows to the examples, and leave them in the model.

    Args:
        train: The examples to fit.
        held_out: Examples that choose the ridge of each level.
        rule: What the model does to its head's output (`nll.head_loss.find_logit_rule`).
        ridges: As in `path.solve_path`.
        tolerance: As in `path.solve_path`.
        look_ahead: With a tied head, let rows compete at the later places, too, see the module's docstring.

    Returns:
        The levels in their order.
    """
    rows = train.model.rows
    places = range(train.places())
    steps = [[place] for place in places] if rows.output is None else [list(places)]
    final = torch.zeros(0, dtype=torch.int64)
    fitted: list[FittedLevel] = []
    seen, seen_held_out = [], []
    start = head_rows(rows)
    rows.sync()
    later = list(places)[1:] if rows.output is None and look_ahead else []
    ahead = {place: train.positions(place, rule) for place in later}
    ahead_held_out = {place: held_out.positions(place, rule) for place in later}
    for step in steps:
        rows.sync()
        ours = [train.positions(place, rule) for place in step]
        theirs = [held_out.positions(place, rule) for place in step]
        unknowns = unknowns_of(torch.cat([part.targets for part in ours]).cpu(), final)
        if len(unknowns):
            seen += ours
            seen_held_out += theirs
            after = [place for place in later if place > step[-1]]
            covered = [*seen, *(ahead[place] for place in after)]
            covered_held_out = [*seen_held_out, *(ahead_held_out[place] for place in after)]
            fitted.append(_fit(rows, start, unknowns, step, covered, covered_held_out, rule, ridges, tolerance))
            final = torch.cat([final, unknowns])
            last = unknowns
        elif fitted and step[-1] == places[-1]:
            ending = _Ending(train, held_out, step[0], last, seen, seen_held_out, start)
            # One ridge: that of the last level, or the strongest where the start was best.
            chosen = max(fitted[-1].best - 1, 0)
            fitted += ending.fit(ours, theirs, rule, ridges[chosen : chosen + 1], tolerance)
    rows.sync()
    return fitted


def _fit(
    rows: NewRows,
    start: torch.Tensor,
    unknowns: torch.Tensor,
    places: list[int],
    seen: Sequence[Positions],
    held_out: Sequence[Positions],
    rule: LogitRule,
    ridges: Sequence[float],
    tolerance: float,
) -> FittedLevel:
    """Fit some rows (u,), the others being as they are, with a ridge towards ``start``; leave them in ``rows``."""
    matrix = head_rows(rows)
    chosen = unknowns.to(matrix.device)
    begin = matrix[chosen]
    matrix[chosen] = start[chosen]
    problem = make_problem(seen, matrix, unknowns, rule)
    held_out_problem = make_problem(held_out, matrix, unknowns, rule)
    path = solve_path(problem, held_out_problem, ridges, tolerance, begin)
    matrix[chosen] = path.rows
    put_head_rows(rows, matrix)
    return FittedLevel(places, len(unknowns), len(problem), len(held_out_problem), path.best, path.points)


@dataclass(frozen=True)
class _Ending:
    """The last level with the end of the turn behind it, see the module's docstring.

    Attributes:
        train: The examples to fit.
        held_out: Examples that choose the ridge and the round.
        place: Place of the end's token.
        unknowns: (u,) int64. Rows of the last level.
        seen: Positions of all levels in ``train``.
        seen_held_out: Those in ``held_out``.
        start: (n, w) float64. All new rows before anything was fitted.
    """

    train: Source
    held_out: Source
    place: int
    unknowns: torch.Tensor
    seen: Sequence[Positions]
    seen_held_out: Sequence[Positions]
    start: torch.Tensor

    def fit(
        self,
        ours: list[Positions],
        theirs: list[Positions],
        rule: LogitRule,
        ridges: Sequence[float],
        tolerance: float,
    ) -> list[FittedLevel]:
        """Fit the rows again, round by round.

        Args:
            ours: The end's positions in ``train``, behind the rows as they are.
            theirs: Those in ``held_out``.
            rule: As in `fit_levels`.
            ridges: As in `fit_levels`.
            tolerance: As in `fit_levels`.

        Returns:
            The rounds up to the one whose rows stay; empty if the rows from before stay.
        """
        rows = self.train.model.rows
        best, best_rows = self._loss(theirs, rule), head_rows(rows)
        rounds: list[FittedLevel] = []
        kept = 0
        for _ in range(ROUNDS_OF_ENDING):
            seen, held_out = [*self.seen, *ours], [*self.seen_held_out, *theirs]
            rounds.append(_fit(rows, self.start, self.unknowns, [self.place], seen, held_out, rule, ridges, tolerance))
            rows.sync()
            ours = [self.train.positions(self.place, rule)]
            theirs = [self.held_out.positions(self.place, rule)]
            loss = self._loss(theirs, rule)
            if loss < best:
                best, best_rows, kept = loss, head_rows(rows), len(rounds)
        put_head_rows(rows, best_rows)
        return rounds[:kept]

    def _loss(self, ends: Sequence[Positions], rule: LogitRule) -> float:
        """Held-out loss of all places, with the end behind the rows as they are."""
        problem = make_problem([*self.seen_held_out, *ends], head_rows(self.train.model.rows), self.unknowns, rule)
        return problem.loss(problem.start)


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
