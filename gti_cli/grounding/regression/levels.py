"""Fit all new rows: a pass of the frozen model, then regressions, level by level.

Tied head. The head compares hidden states with a row, and the model reads the same row, so the hidden states of level l
depend on the rows of the levels before it. Level 0 has none before it: its problem is exactly Algorithm 1's loss at the
answers' first tokens. Each later level is computed behind the final rows of the levels before it, so its problem is
exact, too.

What a regression cannot see is how the model reads its rows, and which pairs it learns by heart. A ridge towards the
start holds against both. Its strength is chosen for each level by held-out answers: the regression is solved with one
strength after the other, from strong to weak, each time from the solution before, until the loss of the held-out
answers rises. Their hidden states are known by then, so a strength costs no pass of the model.

A level's rows compete at all other places, too: what has been fitted nowhere else would be probable there. So each
problem covers all places: those up to its own behind the final rows, those after it behind the start.

Untied head. Hidden states do not depend on the head's rows at all. So one pass collects all places, and the head's rows
of all levels are one convex problem, the end of the turn included. The input rows stay as they are.

Interrupted runs. Rows are saved after each level. The positions that a level needs besides, passes compute again to the
same bytes, or they are found in files.

Calls `sources`, `problem` and `solver`. `endings` comes after it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gti_cli import console
from gti_cli.grounding.nll.head_loss import LogitRule
from gti_cli.grounding.regression.head_rows import head_rows, put_head_rows
from gti_cli.grounding.regression.objective import Regression
from gti_cli.grounding.regression.positions import Positions
from gti_cli.grounding.regression.problem import make_problem
from gti_cli.grounding.regression.saved_levels import FittedLevel, Progress, SavedLevels
from gti_cli.grounding.regression.solver import Coordinates, Solution, solve
from gti_cli.grounding.regression.sources import Source

# Strengths of the ridge, in units of `Coordinates.typical_curvature`.
STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3)
STRENGTHS_UNSEEN = (10.0, 3.0)  # where nothing is held out that could choose one; the last one stays
# Less (1e-2) did not lower the held-out loss, and took 60 % more evaluations (Amazon Office, a small model).
TOLERANCE = 3e-2


@dataclass(frozen=True)
class PathOptions:
    """How a level is solved.

    Attributes:
        strengths: From the strongest to the weakest (None: `STRENGTHS`, or `STRENGTHS_UNSEEN`).
        tolerance: Norm of the gradient at which a regression ends, as a share of the start's norm without a ridge.
    """

    strengths: Sequence[float] | None = None
    tolerance: float = TOLERANCE


def fit_levels(
    train: Source,
    held_out: Source | None,
    rule: LogitRule,
    options: PathOptions | None = None,
    saved: SavedLevels | None = None,
    resuming: bool = False,
) -> Progress:
    """Fit the new rows to the examples, and leave them in the model.

    Args:
        train: The examples to fit.
        held_out: Examples that choose the strength of the ridge (None: there are none).
        rule: What the model does to its head's output (`nll.head_loss.find_logit_rule`).
        options: See `PathOptions`.
        saved: Keeps the rows between levels (None: nothing is kept).
        resuming: Go on from what ``saved`` has.

    Returns:
        The levels, and their rows.
    """
    rows = train.model.rows
    rows.sync()
    progress = saved.read(rows.ids.device) if saved is not None and resuming else None
    levels = _Levels(train, held_out, rule, options or PathOptions(), progress)
    while not levels.ended:
        levels.take()
        if saved is not None:
            saved.keep(levels.progress)
    put_head_rows(rows, levels.progress.rows)
    rows.sync()
    return levels.progress


class _Levels:
    """The levels of a run, step by step. A step is a level, or all of them with an untied head.

    Attributes:
        progress: How far they are.
    """

    def __init__(
        self, train: Source, held_out: Source | None, rule: LogitRule, options: PathOptions, progress: Progress | None
    ) -> None:
        """Divide the rows into steps, and compute the positions behind the start, or those of an interrupted run.

        Args:
            train: As in `fit_levels`; the model holds the rows before anything was fitted.
            held_out: As in `fit_levels`.
            rule: As in `fit_levels`.
            options: As in `fit_levels`.
            progress: That of the interrupted run (None: this is the beginning).
        """
        self._train, self._held_out, self._rule, self._tolerance = train, held_out, rule, options.tolerance
        self._rows = train.model.rows
        self._tied = self._rows.output is None
        usual = STRENGTHS_UNSEEN if held_out is None else STRENGTHS
        self._strengths = usual if options.strengths is None else options.strengths
        self._places = list(range(train.places()))
        self._steps = self._unknowns()
        self.progress = progress or Progress(head_rows(self._rows))
        self._positions: dict[Source, dict[int, Positions]] = {}
        if self.ended:
            return
        for source in self._sources():
            self._positions[source] = {}
            places = self._places if source is train else list(range(source.places()))
            self._compute(source, places, "start")
        if self.progress.levels:
            put_head_rows(self._rows, self.progress.rows)
            self._go_behind(1, self._steps[len(self.progress.levels) - 1][0][-1])

    @property
    def ended(self) -> bool:
        """Whether all levels are fitted."""
        return len(self.progress.levels) == len(self._steps)

    def _sources(self) -> list[Source]:
        return [self._train] if self._held_out is None else [self._train, self._held_out]

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

    def _compute(self, source: Source, places: Sequence[int], name: str) -> None:
        """Compute the positions of some places behind the rows as they are, which then stand for these places."""
        found = source.positions(places, self._rule, name)
        self._positions[source].update(zip(places, found, strict=True))

    def _go_behind(self, first: int, last: int) -> None:
        """Compute the places from ``first`` to ``last`` behind the rows as they are, place by place."""
        self._rows.sync()
        for source in self._sources() if self._tied else ():
            for place in range(first, min(last + 1, source.places())):
                self._compute(source, [place], "fitted")

    def take(self) -> None:
        """Fit the next level, and leave its rows in the model."""
        done = len(self.progress.levels)
        places, unknowns = self._steps[done]
        put_head_rows(self._rows, self.progress.rows)
        # Place 0 stands behind no new row. The places from the step before on stand behind rows that have moved.
        self._go_behind(self._steps[done - 1][0][-1] + 1 if done else 1, places[-1] if done else 0)
        began = time.monotonic()
        level, fitted = self._fit(places, unknowns)
        rows = self.progress.rows.clone()
        rows[unknowns.to(rows.device)] = fitted
        self.progress = Progress(rows, [*self.progress.levels, level])
        put_head_rows(self._rows, rows)
        self._train.spent.solver_seconds += time.monotonic() - began

    def _problem(self, source: Source, unknowns: torch.Tensor) -> Regression:
        """The problem of some rows (u,) at all places of a source, the other rows being as they are."""
        parts = [self._positions[source][place] for place in sorted(self._positions[source])]
        return make_problem(parts, self.progress.rows, unknowns, self._rule, shared=self._train.shared)

    def _fit(self, places: list[int], unknowns: torch.Tensor) -> tuple[FittedLevel, torch.Tensor]:
        """Fit some rows (u,) with weaker and weaker ridges; the rows (u, w) of the best one are returned, too."""
        problem = self._problem(self._train, unknowns)
        held_out = None if self._held_out is None else self._problem(self._held_out, unknowns)
        coordinates, at_start = Coordinates.of(problem), float(problem.value_and_gradient(problem.start)[1].norm())
        where = f"place {places[0]}" if len(places) == 1 else "all places"
        best_loss = None if held_out is None else held_out.loss(problem.start)
        best: tuple[float, Solution] | None = None
        solution, tried, steps, evaluations = None, [], 0, 0
        for strength in self._strengths:
            ridged = problem.with_ridge(strength * coordinates.typical_curvature())
            begin = problem.start if solution is None else solution.rows
            with console.progress(f"Regression, {where}, ridge {strength:g}", None, "evaluations") as advance:
                solution = solve(ridged, begin, self._tolerance * at_start, coordinates, told=advance)
            loss = None if held_out is None else held_out.loss(solution.rows)
            tried.append((strength, loss))
            steps, evaluations = steps + solution.steps, evaluations + solution.evaluations
            if loss is not None and best_loss is not None and not loss < best_loss:
                break
            best, best_loss = (strength, solution), loss
        fitted = problem.start if best is None else best[1].rows
        gradient = best[1].gradient if best is not None else at_start
        level = FittedLevel(
            places,
            len(unknowns),
            len(problem),
            None if best is None else best[0],
            0.0 if best is None else best[0] * coordinates.typical_curvature(),
            problem.loss(fitted),
            best_loss,
            tried,
            steps,
            evaluations,
            gradient / at_start if at_start else 0.0,
            best is not None and best[1].converged,
        )
        _say(where, level)
        return level, fitted


def _say(where: str, level: FittedLevel) -> None:
    """Say which strength was chosen, where held-out answers chose it."""
    if level.held_out_loss is None:
        return
    if level.strength is None:
        console.warn(
            f"regression, {where}: no strength of the ridge lowers the held-out loss: its rows stay as they are"
        )
    else:
        console.note(f"regression, {where}, ridge {level.strength:g}: held-out loss {level.held_out_loss:.4f}")
