"""The loss of answer tokens straight from hidden states, a few positions at a time: never all logits at once.

With a vocabulary of 256,000 tokens, the float32 logits of a batch, their softmax and its gradient are the largest
tensors of a step. But the loss is a sum over positions, and the gradient of one position's term follows from that
position's logits alone. So each chunk of positions adds its part to the loss and to the gradients in the forward pass,
and its logits are freed before the next chunk begins. Fused losses such as that of Wijmans et al. (arXiv 2411.09009) do
the same; nothing is computed twice.

Comes after `nll.objective`, which computes the hidden states. `rows` holds the parameters whose gradient is computed
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from gti_cli.grounding.trainable_rows import NewRows, head_operands

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Most float32 logits of a chunk, by kind of device. About three tensors of that size are alive at a time: 32 MiB each
# on a CPU, 256 MiB each on a GPU, which has the memory and needs large matrix products to be fast.
LOGITS_AT_ONCE = {"cpu": 2**23, "cuda": 2**26}


@dataclass(frozen=True)
class LogitRule:
    """What a model does to its head's output x: ``cap * tanh(scale * x / cap)``, or ``scale * x`` without a cap.

    Attributes:
        scale: Factor of the head's output.
        cap: Soft limit of the logits (None: there is none).
    """

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Apply the rule to float32 logits of any shape."""
        scaled = logits if self.scale == 1.0 else logits * self.scale
        return scaled if self.cap is None else torch.tanh(scaled / self.cap) * self.cap

    def slope(self, result: torch.Tensor) -> torch.Tensor | None:
        """The rule's derivative at the inputs for which it gave ``result``; None if it is 1 everywhere."""
        if self.cap is not None:
            return (1 - (result / self.cap) ** 2) * self.scale
        return None if self.scale == 1.0 else result.new_tensor(self.scale)

    def curvature(self, result: torch.Tensor) -> torch.Tensor | None:
        """The rule's second derivative at the inputs for which it gave ``result``; None if it is 0 everywhere."""
        if self.cap is None:
            return None
        return (1 - (result / self.cap) ** 2) * result * (-2 * (self.scale / self.cap) ** 2)


@torch.no_grad()
def find_logit_rule(model: PreTrainedModel, rows: NewRows) -> LogitRule | None:
    """Read a model's rule from its configuration, and verify it on a few tokens.

    Args:
        model: A causal LM with ``rows`` attached.
        rows: Its new rows.

    Returns:
        The rule. None if the model's logits do not follow it: then the model's own forward pass must compute them.
    """
    config = model.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    rule = LogitRule(scale, getattr(config, "final_logit_softcapping", None))
    ids = torch.arange(min(4, len(rows.head.weight)), device=rows.ids.device)[None]
    head = rows.head
    try:
        # Run once for the hidden states in front of the head, once for the logits that the model makes of them.
        head.positions, head.record = torch.arange(ids.shape[1], device=ids.device), True
        model(input_ids=ids, use_cache=False)
        hidden = head.recorded
        head.record = False
        theirs = model(input_ids=ids, use_cache=False).logits[0].float()
    finally:
        head.reset()
    if hidden is None:
        return None
    ours = rule(functional.linear(hidden, head.weight, head.bias).float())
    tolerance = 1e-5 if hidden.dtype == torch.float32 else 2e-2  # bfloat16 models apply their rule in bfloat16
    return rule if (ours - theirs).abs().max() <= tolerance * theirs.std() else None


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
    head = rows.head
    at_once = LOGITS_AT_ONCE.get(hidden.device.type, 2**23) if at_once is None else at_once
    results: tuple[torch.Tensor, torch.Tensor] = _HeadLoss.apply(  # type: ignore[no-untyped-call]
        hidden,
        *head_operands(rows),
        targets,
        rule,
        max(at_once // len(head.weight), 1),
        torch.is_grad_enabled(),
    )
    return results


class _HeadLoss(torch.autograd.Function):
    """`head_loss` for autograd. The forward pass computes the gradients too, for an upstream gradient of 1."""

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
        with_gradient: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and most probable tokens.

        Args:
            ctx: Holds the gradients for `backward`.
            hidden: (m, d) hidden states.
            rows: (n, d) float32 parameter, the head's new rows.
            bias_rows: (n,) float32 parameter, their biases (None: the head has none).
            weight: (V, d) the head's matrix, which holds the new rows too.
            bias: (V,) the head's bias (None: it has none).
            ids: (n,) int64. Token ids of the new rows.
            targets: (m,) int64.
            rule: Turns the head's output into logits.
            chunk: Number of positions to compute at a time.
            with_gradient: Compute the gradients that `backward` scales.

        Returns:
            The loss (0-dim float32) and the most probable tokens (m,) int64.
        """
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        best = torch.empty_like(targets)
        hidden_gradient = torch.empty_like(hidden) if with_gradient else None
        rows_gradient = torch.zeros_like(rows) if with_gradient else None
        bias_gradient = torch.zeros_like(bias_rows) if with_gradient and bias_rows is not None else None
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            logits = rule(functional.linear(hidden[part], weight, bias).float())  # (c, V)
            column = targets[part, None]
            top, best[part] = logits.max(dim=1)
            slope = rule.slope(logits) if with_gradient else None
            target_logits = logits.gather(1, column).squeeze(1)
            # -log softmax = log(sum(exp(logits - top))) + top - target logit. The logits are not needed again, so
            # their memory takes the exponentials, then the probabilities, then the gradient.
            powers = logits.sub_(top[:, None]).exp_()
            sums = powers.sum(dim=1)
            loss += (sums.log() + top - target_logits).sum()
            if hidden_gradient is None or rows_gradient is None:
                continue
            # The gradient with respect to the logits: probabilities, minus 1 at the target.
            probabilities = powers.div_(sums[:, None])
            probabilities.scatter_add_(1, column, torch.full_like(column, -1, dtype=probabilities.dtype))
            gradient = (probabilities if slope is None else probabilities.mul_(slope)).to(weight.dtype)
            torch.mm(gradient, weight, out=hidden_gradient[part])
            new_gradient = gradient[:, ids]  # (c, n): pretrained rows are frozen, so only these columns matter
            rows_gradient += (new_gradient.T @ hidden[part]).float()
            if bias_gradient is not None:
                bias_gradient += new_gradient.float().sum(0)
        ctx.mark_non_differentiable(best)
        ctx.save_for_backward(hidden_gradient, rows_gradient, bias_gradient)
        return loss, best

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, _: Any) -> tuple[torch.Tensor | None, ...]:
        """Gradients of hidden states, new rows and their biases; everything else is frozen."""
        scaled = [None if part is None else part * gradient.to(part.dtype) for part in ctx.saved_tensors]
        return (*scaled, None, None, None, None, None, None, None)
