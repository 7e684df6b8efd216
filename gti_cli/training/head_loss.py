"""The loss of answer tokens straight from hidden states, a few positions at a time: never all logits at once.

With a vocabulary of 256,000 tokens, the float32 logits of a batch, their softmax and its gradient are the largest
tensors of a step. But the loss is a sum over positions, and the gradient of one position's term follows from that
position's logits alone. So each chunk of positions adds its part to the loss and to the gradients in the forward pass,
and its logits are freed before the next chunk begins. Fused losses such as that of Wijmans et al. (arXiv 2411.09009) do
the same; nothing is computed twice.

`ground` uses it for the new rows of a frozen head (`gti_cli.grounding.nll.head_loss`), `finetune` for a head that
trains as a whole (`gti_cli.training.model_head`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.nn import functional

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


def verified_rule(config: Any, product: torch.Tensor, logits: torch.Tensor) -> LogitRule | None:
    """Read a model's rule from its configuration, and compare what it gives with the model's own logits.

    Args:
        config: The model's configuration.
        product: The head's output for some tokens, in the model's number format.
        logits: (same shape) the logits that the model makes of it.

    Returns:
        The rule. None if the model's logits do not follow it.
    """
    config = config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    rule = LogitRule(scale, getattr(config, "final_logit_softcapping", None))
    theirs = logits.float()
    tolerance = 1e-5 if product.dtype == torch.float32 else 2e-2  # bfloat16 models apply their rule in bfloat16
    return rule if (rule(product.float()) - theirs).abs().max() <= tolerance * theirs.std() else None


class HeadTensors(NamedTuple):
    """An output head, and the parameters of it that train.

    Attributes:
        rows: (n, d) float32 parameter that gets a gradient: the rows that train.
        bias_rows: (n,) float32 parameter, their biases (None: the head has none).
        weight: (V, d) the head's matrix, which holds the values of ``rows`` too.
        bias: (V,) the head's bias (None: it has none).
        ids: (n,) int64. Token ids of ``rows``. None: ``rows`` are all V rows.
    """

    rows: torch.Tensor
    bias_rows: torch.Tensor | None
    weight: torch.Tensor
    bias: torch.Tensor | None
    ids: torch.Tensor | None


class AddedLogits(NamedTuple):
    """What is added to the logits of some tokens, after the model's rule.

    Attributes:
        values: (m, k) float32, which gets a gradient.
        ids: (m, k) int64. Token ids. Where one stands twice in a row, both values are added.
    """

    values: torch.Tensor
    ids: torch.Tensor


def chunked_loss(
    hidden: torch.Tensor,
    head: HeadTensors,
    targets: torch.Tensor,
    rule: LogitRule,
    at_once: int | None = None,
    added: AddedLogits | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum the negative log-likelihood of targets over positions, with a softmax over the whole vocabulary.

    Gradients flow to the hidden states, to the rows of the output head that train, and to ``added``. Under autocast
    the products are computed in its number format.

    Args:
        hidden: (m, d) hidden states in front of the output head.
        head: The output head.
        targets: (m,) int64. The token that each position predicts.
        rule: What the model does to its head's output.
        at_once: Number of float32 logits to compute at a time (None: by device, see `LOGITS_AT_ONCE`).
        added: What is added to the logits (None: nothing).

    Returns:
        The loss (0-dim float32, nats) and the most probable token of each position (m,) int64.
    """
    kind, weight, bias = hidden.device.type, head.weight.detach(), head.bias
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        hidden, weight, bias = hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    at_once = LOGITS_AT_ONCE.get(kind, 2**23) if at_once is None else at_once
    values, added_ids = (None, None) if added is None else added
    with torch.autocast(kind, enabled=False):
        results: tuple[torch.Tensor, torch.Tensor] = _ChunkedLoss.apply(  # type: ignore[no-untyped-call]
            hidden,
            head.rows,
            head.bias_rows,
            values,
            head._replace(weight=weight, bias=None if bias is None else bias.detach()),
            added_ids,
            targets,
            rule,
            max(at_once // len(weight), 1),
            torch.is_grad_enabled(),
        )
    return results


class _ChunkedLoss(torch.autograd.Function):
    """`chunked_loss` for autograd. The forward pass computes the gradients too, for an upstream gradient of 1."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        rows: torch.Tensor,
        bias_rows: torch.Tensor | None,
        values: torch.Tensor | None,
        head: HeadTensors,
        added_ids: torch.Tensor | None,
        targets: torch.Tensor,
        rule: LogitRule,
        chunk: int,
        with_gradient: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and most probable tokens.

        Args:
            ctx: Holds the gradients for `backward`.
            hidden: (m, d) hidden states.
            rows: As in ``head``; an argument so that autograd sends it a gradient.
            bias_rows: The same.
            values: As in `AddedLogits`, or None.
            head: The output head; its values need no gradient.
            added_ids: As in `AddedLogits`, or None.
            targets: (m,) int64.
            rule: Turns the head's output into logits.
            chunk: Number of positions to compute at a time.
            with_gradient: Compute the gradients that `backward` scales.

        Returns:
            The loss (0-dim float32) and the most probable tokens (m,) int64.
        """
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        best = torch.empty_like(targets)
        sums = _Gradients(hidden, rows, bias_rows, values) if with_gradient else None
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            logits = rule(functional.linear(hidden[part], head.weight, head.bias).float())  # (c, V)
            column = targets[part, None]
            slope = rule.slope(logits) if sums is not None else None
            if values is not None and added_ids is not None:
                logits = logits.scatter_add_(1, added_ids[part], values[part])
            top, best[part] = logits.max(dim=1)
            target_logits = logits.gather(1, column).squeeze(1)
            # -log softmax = log(sum(exp(logits - top))) + top - target logit. The logits are not needed again, so
            # their memory takes the exponentials, then the probabilities, then the gradient.
            powers = logits.sub_(top[:, None]).exp_()
            totals = powers.sum(dim=1)
            loss += (totals.log() + top - target_logits).sum()
            if sums is None:
                continue
            # The gradient with respect to the logits: probabilities, minus 1 at the target.
            probabilities = powers.div_(totals[:, None])
            probabilities.scatter_add_(1, column, torch.full_like(column, -1, dtype=probabilities.dtype))
            if sums.values is not None and added_ids is not None:
                torch.gather(probabilities, 1, added_ids[part], out=sums.values[part])
            gradient = (probabilities if slope is None else probabilities.mul_(slope)).to(head.weight.dtype)
            torch.mm(gradient, head.weight, out=sums.hidden[part])
            sums.add_rows(gradient, hidden[part], head.ids)
        ctx.mark_non_differentiable(best)
        ctx.gradients = None if sums is None else (sums.hidden, sums.rows, sums.bias_rows, sums.values)
        return loss, best

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, _: Any) -> tuple[torch.Tensor | None, ...]:
        """Gradients of hidden states, trained rows, their biases and what was added."""
        if ctx.gradients is None:
            raise RuntimeError("the loss of the output head can go through one backward pass only")
        gradients, ctx.gradients = ctx.gradients, None
        # Scaled in place: a copy of the gradient of a whole head would be the largest tensor of the backward pass.
        scaled = [None if part is None else part.mul_(gradient.to(part.dtype)) for part in gradients]
        return (*scaled, None, None, None, None, None, None)


class _Gradients:
    """The sums over chunks that become gradients.

    Attributes:
        hidden: (m, d), of the hidden states.
        rows: (n, d) float32, of the rows that train (None: they do not).
        bias_rows: (n,) float32, of their biases.
        values: (m, k) float32, of what is added to the logits.
    """

    def __init__(
        self, hidden: torch.Tensor, rows: torch.Tensor, bias_rows: torch.Tensor | None, values: torch.Tensor | None
    ) -> None:
        self.hidden = torch.empty_like(hidden)
        self.rows = torch.zeros_like(rows)
        self.bias_rows = None if bias_rows is None else torch.zeros_like(bias_rows)
        self.values = None if values is None else torch.empty_like(values)

    def add_rows(self, gradient: torch.Tensor, hidden: torch.Tensor, ids: torch.Tensor | None) -> None:
        """Add a chunk's part: its gradient of the logits (c, V), and its hidden states (c, d)."""
        if ids is not None:
            gradient = gradient[:, ids]  # (c, n): the other rows are frozen, so only these columns matter
            self.rows += (gradient.T @ hidden).float()
        elif self.rows.dtype == hidden.dtype:
            self.rows.addmm_(gradient.T, hidden)  # adds without another matrix of all rows
        else:
            self.rows += gradient.T @ hidden
        if self.bias_rows is not None:
            self.bias_rows += gradient.float().sum(0)
