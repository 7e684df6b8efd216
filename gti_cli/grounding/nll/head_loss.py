"""The loss of a frozen model's output head of which the new rows train, without all logits at once.

Comes after `nll.objective`, which computes the hidden states. `rows` holds the parameters whose gradient is computed
here. `gti_cli.training.head_loss` does the computing, chunk by chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from gti_cli.grounding.trainable_rows import NewRows, head_operands
from gti_cli.training.head_loss import LOGITS_AT_ONCE, LogitRule, chunked_loss, verified_rule

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["LOGITS_AT_ONCE", "LogitRule", "find_logit_rule", "head_loss"]


@torch.no_grad()
def find_logit_rule(model: PreTrainedModel, rows: NewRows) -> LogitRule | None:
    """Read a model's rule from its configuration, and verify it on a few tokens.

    Args:
        model: A causal LM with ``rows`` attached.
        rows: Its new rows.

    Returns:
        The rule. None if the model's logits do not follow it: then the model's own forward pass must compute them.
    """
    ids = torch.arange(min(4, len(rows.head.weight)), device=rows.ids.device)[None]
    head = rows.head
    try:
        # Run once for the hidden states in front of the head, once for the logits that the model makes of them.
        head.positions, head.record = torch.arange(ids.shape[1], device=ids.device), True
        model(input_ids=ids, use_cache=False)
        hidden = head.recorded
        head.record = False
        logits = model(input_ids=ids, use_cache=False).logits[0]
    finally:
        head.reset()
    if hidden is None:
        return None
    return verified_rule(model.config, functional.linear(hidden, head.weight, head.bias), logits)


def head_loss(
    hidden: torch.Tensor, rows: NewRows, targets: torch.Tensor, rule: LogitRule, at_once: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum the negative log-likelihood of targets over positions, with a softmax over the whole vocabulary.

    Gradients flow to the hidden states and to the new rows of the output head. The head's matrix must hold the current
    rows (`NewRows.sync`).

    Args:
        hidden: (m, d) hidden states in front of the output head.
        rows: The new rows, attached.
        targets: (m,) int64. The token that each position predicts.
        rule: What the model does to its head's output.
        at_once: Number of float32 logits to compute at a time (None: by device, see `LOGITS_AT_ONCE`).

    Returns:
        The loss (0-dim float32, nats) and the most probable token of each position (m,) int64.
    """
    return chunked_loss(hidden, head_operands(rows), targets, rule, at_once)
