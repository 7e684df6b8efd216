"""Fit all new rows: a pass of the frozen model, then a regression, level by level and sweep by sweep.

Tied head. The head compares hidden states with a row, and the model reads the same row, so the hidden states of level l
depend on the rows of the levels before it. Level 0 has none before it: its problem is exactly Algorithm 1's loss at the
answers' first tokens. Each later level is computed behind the rows that the levels before it have just got, so its
problem is exact, too, given these rows. What a regression cannot see is what its rows do where the model reads them:
rows that move far fit their own level, and spoil the hidden states behind them, those of the end of the turn above all,
whose token is old and has no row to fit.

So the ridge that holds rows near their start decides, and its strength is chosen by what the regressions do not see:
a sweep over all levels has one strength, from strong to weak, and begins at the rows of the sweep before. After each
sweep the held-out answers are computed behind the new rows. Where their loss rises, the sweeps end, and the best rows
stay.

A level's rows compete at all other places, too: what has been fitted nowhere else would be probable there. So each
problem covers all places: those before it behind this sweep's rows, those after it behind the rows of the sweep before
(of the start in the first one), with every row of another level as it is.

Untied head. Hidden states do not depend on the head's rows at all. So one pass collects all places, and the head's rows
of all levels are one convex problem, the end of the turn included. A sweep is one regression then, and needs no pass.
The input rows stay as they are.

Interrupted runs. Rows are saved after each level. The positions that a level needs besides, passes compute again to the
same bytes, or they are found in files.

Calls `sources`, `problem` and `solver`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gti_cli import console
from gti_cli.grounding.nll.head_loss import LogitRule
from gti_cli.grounding.regression.head_rows import head_rows, put_head_rows
from gti_cli.grounding.regression.positions import Positions
from gti_cli.grounding.regression.problem import make_problem
from gti_cli.grounding.regression.saved_sweeps import FittedLevel, Progress, SavedSweeps, Sweep
from gti_cli.grounding.regression.solver import Coordinates, solve
from gti_cli.grounding.regression.sources import Source

# Strengths of the ridge, in units of `Coordinates.typical_curvature`.
STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3)
STRENGTHS_UNSEEN = (10.0, 3.0)  # where nothing is held out that could choose one; the last one stays
TOLERANCE = 1e-2


@dataclass(frozen=True)
class SweepOptions:
    """How the levels are solved.

    Attributes:
        strengths: One sweep for each, from the strongest to the weakest (None: `STRENGTHS`, or `STRENGTHS_UNSEEN`).
        tolerance: Norm of the gradient at which a regression ends, as a share of the start's norm without a ridge.
    """

    strengths: Sequence[float] | None = None
    tolerance: float = TOLERANCE


def fit_levels(
    train: Source,
    held_out: Source | None,
    rule: LogitRule,
    options: SweepOptions | None = None,
    saved: SavedSweeps | None = None,
    resuming: bool = False,
) -> Progress:
    """Fit the new rows to the examples, and leave them in the model.

    Args:
        train: The examples to fit.
        held_out: Examples that choose the strength of the ridge (None: there are none).
        rule: What the model does to its head's output (`nll.head_loss.find_logit_rule`).
        options: See `SweepOptions`.
        saved: Keeps the rows between levels (None: nothing is kept).
        resuming: Go on from what ``saved`` has.

    Returns:
        The sweeps, and the rows that stayed.
    """
    rows = train.model.rows
    rows.sync()
    start = head_rows(rows)
    progress = saved.read(start.device) if saved is not None and resuming else None
    if progress is None or not progress.ended:
        sweeps = _Sweeps(train, held_out, rule, options or SweepOptions(), start, progress)
        while not sweeps.progress.ended:
            sweeps.take()
            if saved is not None:
                saved.keep(sweeps.progress)
        progress = sweeps.progress
    put_head_rows(rows, progress.best)
    rows.sync()
    return progress


class _Sweeps:
    """The sweeps of a run, step by step. A step is a level, or all of them with an untied head.

    Attributes:
        progress: How far they are.
    """

    def __init__(
        self,
        train: Source,
        held_out: Source | None,
        rule: LogitRule,
        options: SweepOptions,
        start: torch.Tensor,
        progress: Progress | None,
    ) -> None:
        """Compute the positions behind the start, or those that an interrupted run had.

        Args:
            train: As in `fit_levels`.
            held_out: As in `fit_levels`.
            rule: As in `fit_levels`.
            options: As in `fit_levels`.
            start: The rows before anything was fitted, which the model holds.
            progress: That of the interrupted run (None: this is the beginning).
        """
        self._train, self._held_out, self._rule, self._tolerance = train, held_out, rule, options.tolerance
        self._start, self._rows = start, train.model.rows
        self._tied = self._rows.output is None
        usual = STRENGTHS_UNSEEN if held_out is None else STRENGTHS
        self._strengths = usual if options.strengths is None else options.strengths
        self._places = list(range(train.places()))
        self._steps = self._unknowns()
        self._positions = dict(zip(self._places, train.positions(self._places, rule, "start"), strict=True))
        self._held_out_positions: list[Positions] = []
        loss = self._held_out_loss()
        self.progress = progress or Progress(start, start, start, loss)
        if progress is not None:
            self._return_to(progress)

    def _unknowns(self) -> list[tuple[list[int], torch.Tensor]]:
        """The places of each step and the rows (u,) that it fits: those that no step before names."""
        taken = torch.zeros(0, dtype=torch.int64)
        steps = []
        for places in [[place] for place in self._places] if self._tied else [self._places]:
            named = self._train.named(places)
            unknowns = named[~torch.isin(named, taken)]
            if len(unknowns):
                steps.append((places, unknowns))
                taken = torch.cat([taken, unknowns])
        return steps

    def _return_to(self, progress: Progress) -> None:
        """Compute the positions that the interrupted run had: of the sweep before, then of its own."""
        number = len(progress.sweeps) - 1
        if progress.steps == len(self._steps):  # it has ended, so the next one begins
            self._compute_behind(progress.rows, self._places[1:], number)
            return
        if number > 0:
            self._compute_behind(progress.before, self._places[1:], number - 1)
        last = self._steps[progress.steps - 1][0][-1]
        self._compute_behind(progress.rows, [place for place in self._places[1:] if place <= last], number)

    def _compute_behind(self, matrix: torch.Tensor, places: Sequence[int], number: int) -> None:
        """Compute positions behind some rows, place by place, as the sweep of that number does."""
        put_head_rows(self._rows, matrix)
        for place in places if self._tied else ():
            self._compute(place, number)

    def _compute(self, place: int, number: int) -> None:
        """Compute the positions of a place behind the rows as they are, which then stand for this place."""
        self._rows.sync()
        self._positions[place] = self._train.positions([place], self._rule, f"sweep-{number}")[0]
        self._train.forget([place], f"sweep-{number - 2}")

    def take(self) -> None:
        """Take one step; after the last one of a sweep, measure, and decide whether to go on."""
        progress = self.progress
        if not self._steps:
            progress.ended = True
            return
        if not progress.sweeps or progress.steps == len(self._steps):
            progress.sweeps.append(Sweep(self._strengths[len(progress.sweeps)]))
            progress.steps, progress.before = 0, progress.rows
        sweep, number = progress.sweeps[-1], len(progress.sweeps) - 1
        places, unknowns = self._steps[progress.steps]
        put_head_rows(self._rows, progress.rows)
        # Place 0 stands behind no new row. The places from the step before on stand behind rows that have moved.
        first = self._steps[progress.steps - 1][0][-1] + 1 if progress.steps else 1
        for place in range(first, places[-1] + 1) if self._tied else ():
            self._compute(place, number)
        sweep.levels.append(self._fit(places, unknowns, sweep.strength))
        progress.rows = head_rows(self._rows)
        progress.steps += 1
        if progress.steps == len(self._steps):
            for place in range(places[-1] + 1, len(self._places)) if self._tied else ():
                self._compute(place, number)
            self._judge(sweep)

    def _fit(self, places: list[int], unknowns: torch.Tensor, strength: float) -> FittedLevel:
        """Fit some rows (u,), the others being as they are, with a ridge towards the start; leave them in the model."""
        began = time.monotonic()
        matrix = head_rows(self._rows)
        chosen = unknowns.to(matrix.device)
        begin = matrix[chosen]
        matrix[chosen] = self._start[chosen]
        parts = [self._positions[place] for place in self._places]
        problem = make_problem(parts, matrix, unknowns, self._rule, shared=self._train.shared)
        coordinates = Coordinates.of(problem)
        _, gradient = problem.value_and_gradient(problem.start)
        at_start = float(gradient.norm())
        problem = problem.with_ridge(strength * coordinates.typical_curvature())
        where = f"place {places[0]}" if len(places) == 1 else "all places"
        with console.progress(f"Regression, {where}, ridge {strength:g}", None, "evaluations") as advance:
            solution = solve(problem, begin, self._tolerance * at_start, coordinates, told=advance)
        matrix[chosen] = solution.rows
        put_head_rows(self._rows, matrix)
        self._train.spent.solver_seconds += time.monotonic() - began
        return FittedLevel(
            places,
            len(unknowns),
            len(problem),
            problem.ridge,
            problem.loss(solution.rows),
            solution.steps,
            solution.evaluations,
            solution.gradient / at_start if at_start else 0.0,
            solution.converged,
        )

    def _judge(self, sweep: Sweep) -> None:
        """Measure held-out answers behind the rows as they are; keep the rows if they are the best so far."""
        progress = self.progress
        sweep.held_out_loss = loss = self._held_out_loss()
        is_best = loss is None or progress.best_loss is None or loss < progress.best_loss
        if is_best:
            progress.best, progress.best_loss, progress.kept = progress.rows, loss, len(progress.sweeps) - 1
        progress.ended = not is_best or len(progress.sweeps) == len(self._strengths)
        if loss is not None:
            console.note(f"regression with ridge {sweep.strength:g}: held-out loss {loss:.4f}")

    def _held_out_loss(self) -> float | None:
        """Mean loss of the held-out answers' tokens behind the rows as they are; None if nothing is held out."""
        if self._held_out is None:
            return None
        self._rows.sync()
        if self._tied or not self._held_out_positions:
            self._held_out_positions = self._held_out.positions(self._places, self._rule, "held-out")
        any_row = torch.zeros(1, dtype=torch.int64)
        matrix, shared = head_rows(self._rows), self._train.shared
        problem = make_problem(self._held_out_positions, matrix, any_row, self._rule, shared=shared)
        return problem.loss(problem.start)
