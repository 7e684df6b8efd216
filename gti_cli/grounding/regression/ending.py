"""The last level of a tied head once more, with the end of the turn behind it; `levels` explains why.

Called by `levels`. Its hidden states stand behind the very rows that it fits, so it goes on in rounds: a regression,
then a pass for the end's positions behind the new rows. The rows with the lowest loss behind themselves stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from gti_cli.grounding.nll.head_loss import LogitRule
from gti_cli.grounding.regression.head_rows import head_rows, put_head_rows
from gti_cli.grounding.regression.positions import Positions
from gti_cli.grounding.regression.problem import make_problem
from gti_cli.grounding.regression.saved_levels import FittedLevel
from gti_cli.grounding.regression.sources import Source

ROUNDS = 3


@dataclass(frozen=True)
class Ending:
    """The rounds.

    Attributes:
        train: The examples to fit.
        held_out: Examples that choose the round (None: those of ``train`` do).
        place: Place of the end's token.
        unknowns: (u,) int64. Rows of the last level.
        seen: Positions of all levels in ``train``.
        seen_held_out: Those in ``held_out``.
        rule: What the model does to its head's output.
        fit: Fits the last level to positions of ``train`` and ``held_out``, and leaves the rows in the model.
    """

    train: Source
    held_out: Source | None
    place: int
    unknowns: torch.Tensor
    seen: Sequence[Positions]
    seen_held_out: Sequence[Positions]
    rule: LogitRule
    fit: Callable[[Sequence[Positions], Sequence[Positions]], FittedLevel]

    def run(self) -> list[FittedLevel]:
        """Fit the rows again, round by round.

        Returns:
            The rounds up to the one whose rows stay; empty if the rows from before stay.
        """
        rows = self.train.model.rows
        ours, theirs = self._positions(0)
        best, best_rows = self._loss(ours, theirs), head_rows(rows)
        rounds: list[FittedLevel] = []
        kept = 0
        for number in range(1, ROUNDS + 1):
            rounds.append(self.fit([*self.seen, *ours], [*self.seen_held_out, *theirs]))
            rows.sync()
            ours, theirs = self._positions(number)
            loss = self._loss(ours, theirs)
            if loss < best:
                best, best_rows, kept = loss, head_rows(rows), number
        put_head_rows(rows, best_rows)
        return rounds[:kept]

    def _positions(self, number: int) -> tuple[list[Positions], list[Positions]]:
        """The end's positions in both sources, behind the rows as they are after a round."""
        ours = self.train.positions([self.place], self.rule, f"round-{number}")
        if self.held_out is None:
            return ours, []
        return ours, self.held_out.positions([self.place], self.rule, f"round-{number}")

    def _loss(self, ours: Sequence[Positions], theirs: Sequence[Positions]) -> float:
        """Loss of all places, with the end behind the rows as they are."""
        parts = [*self.seen, *ours] if self.held_out is None else [*self.seen_held_out, *theirs]
        problem = make_problem(
            parts, head_rows(self.train.model.rows), self.unknowns, self.rule, shared=self.train.shared
        )
        return problem.loss(problem.start)
