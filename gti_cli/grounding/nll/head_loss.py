"""The loss of answer tokens straight from hidden states, a few positions at a time: never all logits at once.

With a vocabulary of 256,000 the float32 logits of a batch, their softmax and its gradient are the largest tensors of a
step. Since the loss is a sum, its gradient is known as soon as a position's logits are: each chunk of positions yields
its share of the loss and of the gradients, and its logits are gone before the next (as in fused losses such as that of
Wijmans et al., arXiv 2411.09009; nothing is computed twice).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from gti_cli.grounding.rows import NewRows, head_operands

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# float32 elements of a chunk, of which about three tensors are alive: 32 MiB each; on a GPU, which wants large products
# to be fast and has the memory, 256 MiB.
LOGITS_AT_ONCE = {"cpu": 2**23, "cuda": 2**26}


@dataclass(frozen=True)
class LogitRule:
    """What a model does to its head's output x: ``cap * tanh(scale * x / cap)``, or ``scale * x`` without a cap."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Apply it to float32 logits."""
        scaled = logits if self.scale == 1.0 else logits * self.scale
        return scaled if self.cap is None else torch.tanh(scaled / self.cap) * self.cap

    def slope(self, result: torch.Tensor) -> torch.Tensor | None:
        """Derivative where the rule gave ``result``; None where it is 1 everywhere."""
        if self.cap is not None:
            return (1 - (result / self.cap) ** 2) * self.scale
        return None if self.scale == 1.0 else result.new_tensor(self.scale)


@torch.no_grad()
def rule_of(model: PreTrainedModel, rows: NewRows) -> LogitRule | None:
    """The rule of ``model`` (``rows`` attached), read from its configuration and tried out; None if it is another."""
    config = model.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    rule = LogitRule(scale, getattr(config, "final_logit_softcapping", None))
    ids = torch.arange(min(4, len(rows.head.weight)), device=rows.ids.device)[None]
    head = rows.head
    try:
        head.keep, head.record = torch.arange(ids.shape[1], device=ids.device), True
        model(input_ids=ids, use_cache=False)
        hidden = head.recorded
        head.record = False
        theirs = model(input_ids=ids, use_cache=False).logits[0].float()
    finally:
        head.keep, head.record, head.recorded = None, False, None
    if hidden is None:
        return None
    ours = rule(functional.linear(hidden, head.weight, head.bias).float())
    near = 1e-5 if hidden.dtype == torch.float32 else 2e-2  # bfloat16 models apply their rule in bfloat16
    return rule if (ours - theirs).abs().max() <= near * theirs.std() else None


def head_loss(
    hidden: torch.Tensor, rows: NewRows, targets: torch.Tensor, rule: LogitRule, at_once: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed negative log-likelihood of ``targets`` (m,) given hidden states (m, d), softmax over the whole vocabulary.

    The head's matrix must hold the current rows (`NewRows.sync`). The gradient is that of hidden states and new rows.

    Args:
        at_once: float32 logits that are computed at a time (None: by device, see `LOGITS_AT_ONCE`).

    Returns:
        the loss (0-dim float32, nats) and the most probable token of each position (m,) int64.
    """
    head = rows.head
    at_once = LOGITS_AT_ONCE.get(hidden.device.type, 2**23) if at_once is None else at_once
    found: tuple[torch.Tensor, torch.Tensor] = _HeadLoss.apply(  # type: ignore[no-untyped-call]
        hidden,
        *head_operands(rows),
        targets,
        rule,
        max(at_once // len(head.weight), 1),
        torch.is_grad_enabled(),
    )
    return found


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        rows: torch.Tensor,
        bias_rows: torch.Tensor | None,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        ids: torch.Tensor,
        targets: torch.Tensor,
        rule: LogitRule,
        chunk: int,
        wanted: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and most probable tokens; if ``wanted``, also the gradients that `backward` will scale."""
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        best = torch.empty_like(targets)
        of_hidden = torch.empty_like(hidden) if wanted else None
        of_rows = torch.zeros_like(rows) if wanted else None
        of_bias = torch.zeros_like(bias_rows) if wanted and bias_rows is not None else None
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            logits = rule(functional.linear(hidden[part], weight, bias).float())
            places = targets[part, None]
            top, best[part] = logits.max(dim=1)
            slope = rule.slope(logits) if wanted else None
            reached = logits.gather(1, places).squeeze(1)
            powers = logits.sub_(top[:, None]).exp_()  # the logits are needed no more
            sums = powers.sum(dim=1)
            loss += (sums.log() + top - reached).sum()
            if of_hidden is None or of_rows is None:
                continue
            share = powers.div_(sums[:, None])
            share.scatter_add_(1, places, torch.full_like(places, -1, dtype=share.dtype))
            gradient = (share if slope is None else share.mul_(slope)).to(weight.dtype)
            torch.mm(gradient, weight, out=of_hidden[part])
            of_new = gradient[:, ids]
            of_rows += (of_new.T @ hidden[part]).float()
            if of_bias is not None:
                of_bias += of_new.float().sum(0)
        ctx.mark_non_differentiable(best)
        ctx.save_for_backward(of_hidden, of_rows, of_bias)
        return loss, best

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, _: Any) -> tuple[torch.Tensor | None, ...]:
        """Gradients of hidden states, rows and their biases; the rest is frozen."""
        found = [None if part is None else part * gradient.to(part.dtype) for part in ctx.saved_tensors]
        return (*found, None, None, None, None, None, None, None)
