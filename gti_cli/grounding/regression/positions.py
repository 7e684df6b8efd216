"""What the frozen model says about the positions that predict answer tokens: all that a regression needs of it.

At a position with hidden state h, a token's logit is ``rule(w . h + b)``: its row w, its bias b, and what the model
does to the output of its head (`LogitRule`). Old rows are frozen, so everything that the old vocabulary does to the
softmax is one number: the log-sum-exp of its logits. It is computed once, and no later evaluation touches the old rows.

`collect` makes `Positions` with a pass of the model. `problem` puts some of them together to a problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from gti_cli.grounding.nll.head_loss import LOGITS_AT_ONCE, LogitRule
from gti_cli.grounding.regression.kept_states import StackedStates

COLUMNS_AT_ONCE = 16_384  # rows of the head in a product; more do not make it faster


@dataclass(frozen=True)
class Positions:
    """m positions, each of which predicts one token.

    Attributes:
        states: (m, d) hidden states in front of the output head, in the number format in which they are kept.
        old: (m,) float64. Log-sum-exp of the logits of all old tokens.
        targets: (m,) int64. Number of the predicted token among the new rows; -1 if it is an old token.
        old_target_logits: (m,) float64. Logit of a predicted token that is old; 0 where the predicted token is new.
    """

    states: torch.Tensor | StackedStates
    old: torch.Tensor
    targets: torch.Tensor
    old_target_logits: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets)


def join(parts: Sequence[Positions]) -> Positions:
    """Put the positions of several parts behind one another; no hidden state is copied."""
    if len(parts) == 1:
        return parts[0]
    return Positions(
        StackedStates([part.states for part in parts]),
        torch.cat([part.old for part in parts]),
        torch.cat([part.targets for part in parts]),
        torch.cat([part.old_target_logits for part in parts]),
    )


@torch.no_grad()
def old_log_sum_exp(
    states: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    new: torch.Tensor,
    rule: LogitRule,
    at_once: int | None = None,
) -> torch.Tensor:
    """Sum up what all old tokens contribute to the softmax at each position.

    The head's product is computed in the model's number format, as `head_loss` does, for a block of positions and a
    block of rows at a time.

    Args:
        states: (m, d) hidden states.
        weight: (V, d) the head's matrix.
        bias: (V,) the head's bias (None: it has none).
        new: (n,) int64. Token ids of the new rows, which are left out.
        rule: What the model does to its head's output.
        at_once: Number of float32 logits to compute at a time (None: by device, see `LOGITS_AT_ONCE`).

    Returns:
        (m,) float64. Log-sum-exp of the old tokens' logits.
    """
    limit = LOGITS_AT_ONCE.get(states.device.type, 2**23) if at_once is None else at_once
    columns = min(COLUMNS_AT_ONCE, len(weight))
    chunk = max(limit // columns, 1)
    is_new = torch.zeros(len(weight), dtype=torch.bool, device=weight.device)
    is_new[new] = True
    sums = torch.full((len(states),), -torch.inf, dtype=torch.float64, device=states.device)
    for first in range(0, len(weight), columns):
        block = slice(first, first + columns)
        if is_new[block].all():
            continue
        part_bias = None if bias is None else bias[block]
        for start in range(0, len(states), chunk):
            part = slice(start, start + chunk)
            logits = widen(rule, functional.linear(states[part], weight[block], part_bias))
            logits = logits.masked_fill_(is_new[block], -torch.inf)
            sums[part] = torch.logaddexp(sums[part], logits.logsumexp(dim=1).double())
    return sums


def widen(rule: LogitRule, product: torch.Tensor) -> torch.Tensor:
    """Logits of a head's output: in float32 where a model rounds to fewer bits, else in the output's own format."""
    return rule(product if product.dtype == torch.float64 else product.float())
