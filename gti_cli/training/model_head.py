"""The output head of a model that trains as a whole, with its loss in chunks instead of the model's logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from gti_cli.training.head_loss import AddedLogits, HeadTensors, LogitRule, chunked_loss, verified_rule

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class ModelHead:
    """A plain linear output head.

    Attributes:
        linear: The head's module within the model.
        rule: What the model does to its output.
    """

    linear: nn.Linear
    rule: LogitRule

    @contextmanager
    def recording(self) -> Iterator[list[torch.Tensor]]:
        """Within the block, the head records its input and computes no logits.

        The model is called as always, so that wrappers around it (data parallelism, say) notice the call.

        Yields:
            The inputs (B, K, d) of all calls so far.
        """
        recorded: list[torch.Tensor] = []

        def record(hidden: torch.Tensor) -> torch.Tensor:
            """The head's forward pass: logits of no position."""
            recorded.append(hidden)
            return hidden.new_zeros(len(hidden), 0, self.linear.out_features)

        self.linear.forward = record  # type: ignore[method-assign, assignment]
        try:
            yield recorded
        finally:
            del self.linear.forward

    def loss(self, hidden: torch.Tensor, targets: torch.Tensor, added: AddedLogits | None) -> torch.Tensor:
        """The summed negative log-likelihood of targets (0-dim float32, nats), see `chunked_loss`.

        Args:
            hidden: (m, d) inputs of the head.
            targets: (m,) int64.
            added: What is added to the logits.
        """
        weight, bias = self.linear.weight, self.linear.bias
        return chunked_loss(hidden, HeadTensors(weight, bias, weight, bias, None), targets, self.rule, added=added)[0]


def find_model_head(model: PreTrainedModel) -> ModelHead | None:
    """A model's output head, where its loss can be computed in chunks.

    Args:
        model: A causal LM. Afterwards it is in the mode (training or evaluation) in which it was before.

    Returns:
        None where the head is no plain linear layer that trains (adapters may be around it), or where the model does
        something else to its logits than a `LogitRule`.
    """
    linear: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if type(linear) is not nn.Linear or not linear.weight.requires_grad:
        return None
    training = model.training
    model.eval()  # type: ignore[no-untyped-call]
    try:
        rule = _rule(model, linear)
    # A model that needs its logits fails with any of these where the head computes none.
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError):
        return None
    finally:
        model.train(training)
    return None if rule is None else ModelHead(linear, rule)


@torch.no_grad()
def _rule(model: Any, linear: nn.Linear) -> LogitRule | None:
    """What the model does to the output of its head, tried on a few tokens; None: something unknown."""
    ids = torch.arange(min(4, linear.out_features), device=linear.weight.device)[None]
    with ModelHead(linear, LogitRule()).recording() as recorded:
        model(input_ids=ids, use_cache=False)
    logits = model(input_ids=ids, use_cache=False).logits
    return verified_rule(model.config, functional.linear(recorded[0], linear.weight, linear.bias), logits)
