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
times (`ending`); the rows whose held-out loss is lowest, measured behind themselves, stay.

Untied head. Hidden states do not depend on the head's rows at all. So one pass collects all places, and the head's rows
of all levels are one convex problem, the end of the turn included. The input rows stay as they are.

Interrupted runs. Rows are saved after each level. All that a level needs besides, a pass computes again to the same
bytes, or finds in files.

Calls `sources`, `problem` and `path`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from gti_cli import console
from gti_cli.grounding.nll.head_loss import LogitRule
from gti_cli.grounding.regression.ending import Ending
from gti_cli.grounding.regression.head_rows import head_rows, put_head_rows
from gti_cli.grounding.regression.path import RIDGE_UNSEEN, RIDGES, TOLERANCE, PathPoint, solve_path
from gti_cli.grounding.regression.positions import Positions
from gti_cli.grounding.regression.problem import make_problem
from gti_cli.grounding.regression.saved_levels import FittedLevel, SavedLevels
from gti_cli.grounding.regression.sources import Source


@dataclass(frozen=True)
class LevelOptions:
    """How the levels are solved.

    Attributes:
        ridges: As in `path.solve_path`. Where nothing is held out, `path.RIDGE_UNSEEN` takes their place.
        tolerance: As in `path.solve_path`.
        look_ahead: With a tied head, let rows compete at the later places, too, see the module's docstring.
    """

    ridges: Sequence[float] = RIDGES
    tolerance: float = TOLERANCE
    look_ahead: bool = True


def fit_levels(
    train: Source,
    held_out: Source | None,
    rule: LogitRule,
    options: LevelOptions | None = None,
    saved: SavedLevels | None = None,
) -> list[FittedLevel]:
    """Fit the new rows to the examples, and leave them in the model.

    Args:
        train: The examples to fit.
        held_out: Examples that choose the ridge of each level (None: there are none).
        rule: What the model does to its head's output (`nll.head_loss.find_logit_rule`).
        options: See `LevelOptions`.
        saved: Keeps the rows between levels (None: nothing is kept).

    Returns:
        The levels in their order.
    """
    options = options or LevelOptions()
    places = list(range(train.places()))
    steps = [[place] for place in places] if train.model.rows.output is None else [places]
    done = saved.steps() if saved is not None else 0
    if saved is not None and done == len(steps):
        return saved.restore(train.model.rows)
    fitting = _Fitting(train, held_out, rule, options, places, steps)
    if saved is not None and done:
        fitting.fitted = saved.restore(train.model.rows)
    for number, step in enumerate(steps):
        fitting.take(step, already=number < done)
        if saved is not None and number >= done:
            saved.keep(train.model.rows, fitting.fitted, number + 1)
    train.model.rows.sync()
    return fitting.fitted


class _Fitting:
    """What goes from one level to the next.

    Attributes:
        fitted: The levels so far.
    """

    def __init__(
        self,
        train: Source,
        held_out: Source | None,
        rule: LogitRule,
        options: LevelOptions,
        places: list[int],
        steps: list[list[int]],
    ) -> None:
        """Compute the positions that do not depend on any fitted row, and those to look ahead at.

        Args:
            train: As in `fit_levels`.
            held_out: As in `fit_levels`.
            rule: As in `fit_levels`.
            options: As in `fit_levels`.
            places: All places of the answers.
            steps: Places whose tokens are fitted together.
        """
        self._train, self._held_out, self._rule, self._options = train, held_out, rule, options
        self._places = places
        self._start = head_rows(train.model.rows)
        train.model.rows.sync()
        self._tied = train.model.rows.output is None
        first = places if options.look_ahead else steps[0]
        self._behind_start = self._positions(first, "start")
        self._first = steps[0]
        self._final = torch.zeros(0, dtype=torch.int64)
        self._last = self._final
        self._seen: list[Positions] = []
        self._seen_held_out: list[Positions] = []
        self.fitted: list[FittedLevel] = []

    def take(self, step: list[int], already: bool) -> None:
        """Fit the tokens of some places, or do what comes with it where they are fitted already.

        Args:
            step: The places.
            already: Whether the model has the fitted rows; then nothing is solved.
        """
        self._train.model.rows.sync()
        named = self._train.named(step)
        unknowns = named[~torch.isin(named, self._final)]
        if not len(unknowns):
            if self.fitted and step[-1] == self._places[-1] and not already:
                self.fitted += self._ending(step[0]).run()
            return
        if step == self._first:
            ours, theirs = ([parts[place] for place in step if place in parts] for parts in self._behind_start)
        else:
            ours, theirs = (list(parts.values()) for parts in self._positions(step, "level"))
        self._seen += ours
        self._seen_held_out += theirs
        if not already:
            ahead, ahead_held_out = (
                [part for place, part in parts.items() if self._tied and place > step[-1]]
                for parts in self._behind_start
            )
            level = self._fit(
                unknowns,
                step,
                self._options.ridges,
                [*self._seen, *ahead],
                [*self._seen_held_out, *ahead_held_out],
            )
            self.fitted.append(level)
        self._final = torch.cat([self._final, unknowns])
        self._last = unknowns

    def _positions(self, places: list[int], name: str) -> tuple[dict[int, Positions], dict[int, Positions]]:
        """Positions of both sources, by place."""
        ours = self._train.positions(places, self._rule, name)
        theirs = [] if self._held_out is None else self._held_out.positions(places, self._rule, name)
        return dict(zip(places, ours, strict=True)), dict(zip(places, theirs, strict=False))

    def _ending(self, place: int) -> Ending:
        """The rounds for the end of the turn, with one ridge: the last level's, or the strongest if that has none."""
        ridges = self._options.ridges
        chosen = max(self.fitted[-1].best - 1, 0)
        fit = partial(self._fit, self._last, [place], ridges[chosen : chosen + 1])
        return Ending(self._train, self._held_out, place, self._last, self._seen, self._seen_held_out, self._rule, fit)

    def _fit(
        self,
        unknowns: torch.Tensor,
        places: list[int],
        ridges: Sequence[float],
        seen: Sequence[Positions],
        held_out: Sequence[Positions],
    ) -> FittedLevel:
        """Fit some rows (u,), the others being as they are, with a ridge towards the start; leave them in the model."""
        rows, shared, rule = self._train.model.rows, self._train.shared, self._rule
        matrix = head_rows(rows)
        chosen = unknowns.to(matrix.device)
        begin = matrix[chosen]
        matrix[chosen] = self._start[chosen]
        problem = make_problem(seen, matrix, unknowns, rule, shared=shared)
        judge = None if self._held_out is None else make_problem(held_out, matrix, unknowns, rule, shared=shared)
        ridges = ridges if judge is not None else [RIDGE_UNSEEN]
        began = time.monotonic()
        where = f"place {places[0]}" if len(places) == 1 else "all places"
        with console.progress(f"Regression, {where}", len(ridges), "ridges") as advance:

            def show(point: PathPoint) -> None:
                """Show the loss of a solution."""
                loss = point.loss if point.held_out_loss is None else point.held_out_loss
                advance(note=f"{'held-out ' if judge is not None else ''}loss {loss:.4f}")

            path = solve_path(problem, judge, ridges, self._options.tolerance, begin, show)
        matrix[chosen] = path.rows
        put_head_rows(rows, matrix)
        self._train.spent.solver_seconds += time.monotonic() - began
        count = 0 if judge is None else len(judge)
        return FittedLevel(places, len(unknowns), len(problem), count, path.best, path.points)
