"""Which rows are unknown, and at which positions they are fitted: one `Regression` out of collected `Positions`.

The unknowns of a level are the rows of the tokens that its positions predict, and that no level before predicted. Every
other new row is a constant there:

- Rows of later levels have no positive target at these positions. A regression would push them away without end:
  hidden states share a large mean, so there is a direction in which their logits fall at all positions together, and
  without a ridge there would be no solution. Their own level decides about them.
- Rows of earlier levels are final. With a tied head, the hidden states of this level were computed behind them.
- Rows that no position predicts stay at their start: nothing says what they mean.

In exchange the problem of level l covers the positions of the levels before it, too. There its rows have no positive
target, but they compete: without these positions they could take probability from the earlier levels' tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gti_cli.grounding.nll.head_loss import LogitRule
from gti_cli.grounding.regression.objective import Regression
from gti_cli.grounding.regression.positions import Positions, join


def make_problem(
    parts: Sequence[Positions],
    rows: torch.Tensor,
    unknowns: torch.Tensor,
    rule: LogitRule,
    at_once: int | None = None,
    shared: bool = False,
) -> Regression:
    """Put positions and rows together to a problem without a ridge, which starts from the rows as they are.

    Args:
        parts: The positions of one or several levels that this process holds.
        rows: (n, w) float64. All new rows as they are, with their bias as last coordinate where the head has one.
        unknowns: (u,) int64, increasing. Numbers of the rows to fit.
        rule: What the model does to its head's output.
        at_once: Number of logits to compute at a time (None: by device).
        shared: Whether the other processes of the launch hold positions, too. All of them then call this.

    Returns:
        The problem.
    """
    positions = join(parts)
    is_constant = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    is_constant[unknowns.to(rows.device)] = False
    place = torch.full((len(rows) + 1,), -1, dtype=torch.int64)  # the last entry serves target -1
    place[unknowns.cpu()] = torch.arange(len(unknowns))
    others, constant_targets = _with_constants(positions, rows, is_constant, rule, at_once)
    count = None
    if shared:
        total = torch.tensor(len(positions), device=rows.device)
        torch.distributed.all_reduce(total)
        count = int(total)
    return Regression(
        positions.states,
        others,
        place[positions.targets.cpu()].to(positions.targets.device),
        constant_targets,
        rows[~is_constant].clone(),
        rule,
        at_once=at_once,
        count=count,
    )


def _with_constants(
    positions: Positions, rows: torch.Tensor, is_constant: torch.Tensor, rule: LogitRule, at_once: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-sum-exp of the old tokens and of the constant new rows, and the logits of predicted tokens among these."""
    numbers = is_constant.nonzero().squeeze(1)
    if not len(numbers):
        return positions.old, positions.old_target_logits
    # The constant rows as if they were unknowns: `Regression` has all that is needed to read their logits.
    place = torch.full((len(rows) + 1,), -1, dtype=torch.int64)
    place[numbers.cpu()] = torch.arange(len(numbers))
    targets = place[positions.targets.cpu()].to(positions.targets.device)
    reader = Regression(
        positions.states, positions.old, targets, positions.old_target_logits, rows[numbers], rule, at_once=at_once
    )
    others, target_logits = reader.normalisers(rows[numbers])
    return others.to(positions.old.device), target_logits.to(positions.old.device)
