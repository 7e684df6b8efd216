"""The objective of distillation: hidden states after a new token become those after its phrase.

AweDist, later named Token Distillation (Dobler, Elliott and de Melo, arXiv 2505.20133). The frozen model reads a
context with the phrase in its old tokenization, which gives the teacher's hidden states. The embedding of the new token
is then learned so that the same model, reading the token instead of the phrase, produces the same hidden states; the
error is their mean squared difference. One row thus learns what the layers compute from the phrase's tokens, which the
mean of their rows does not contain.

This objective teaches how a token is *read*. How it is *written*, through its row of the output head, does not affect
these hidden states:

- Untied heads: output rows and head biases get no gradient and stay as they are, unless the negative log-likelihood has
  a weight above 0. They then learn from it, as in the authors' own experiments.
- Tied heads: the one row is trained through its reading alone. How readily the model writes the token is not trained;
  the figure `loss_token` reports it, and a weight for the negative log-likelihood trains it.

Comes after `distil.batches`, which makes the batches. `rows` holds the parameters that receive the gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from gti_cli.errors import InputError
from gti_cli.grounding.distil.batches import DistilBatch
from gti_cli.grounding.trainable_rows import NewRows

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def hidden_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared error over the d coordinates, summed over n corresponding positions: (n, d), (n, d) -> 0-dim."""
    return (student.float() - teacher.float()).square().mean(-1).sum()


def check_layer(model: PreTrainedModel, layer: int | None) -> None:
    """Check that a model has the layer whose hidden states are to be compared.

    Args:
        model: A causal LM.
        layer: Number of the layer, from 1 (None: the last).

    Raises:
        InputError: When it has no such layer.
    """
    count = int(model.config.get_text_config().num_hidden_layers)
    if layer is not None and not 1 <= layer <= count:
        raise InputError(f"--distil-layer is {layer}", remedy=f"this model has the layers 1 to {count}")


class DistilModel(nn.Module):
    """The module that the Trainer trains. Its parameters and its state are the new rows alone.

    Attributes:
        SUMS: Names of the sums that `measure` returns, in order.
        rows: The new rows.
    """

    SUMS = ("loss", "error", "power", "positions", "nll_following", "nll_phrase", "following", "nll_tokens", "tokens")

    def __init__(
        self, model: PreTrainedModel, rows: NewRows, *, layer: int | None = None, nll_weight: float = 0.0
    ) -> None:
        """Wrap a frozen model.

        Args:
            model: A causal LM. ``rows`` must be attached to it whenever `forward` runs.
            rows: Its new rows.
            layer: Number of the layer whose output is compared, from 1 (None: the last, after the final norm).
            nll_weight: Weight of the negative log-likelihood (nats) beside the mean squared error. If it is 0, the
                output rows and biases of untied heads do not train.
        """
        super().__init__()
        self.rows = rows
        self._model = (model,)  # in a tuple, so that the frozen model is not part of this module's state
        self._layer = -1 if layer is None else layer
        self._nll_weight = nll_weight
        for head_rows in (rows.output, rows.bias):
            if head_rows is not None:
                head_rows.requires_grad_(nll_weight > 0)

    def forward(self, batch: DistilBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the loss of a batch.

        Args:
            batch: A batch of `batches.DistilCollator`.

        Returns:
            The mean squared error, summed over corresponding positions (0-dim float32), plus ``nll_weight`` times the
            summed negative log-likelihood of the new tokens and everything after them; and the number of corresponding
            positions (0-dim int64).
        """
        self.rows.sync()
        nowhere = batch["predict_at"][:0]
        teacher_states = batch["teacher_states"] if "teacher_states" in batch else self.teacher_states(batch)
        predict_at = batch["predict_at"] if self._nll_weight else nowhere
        student_states, logits = self._read(batch["student"], batch["student_mask"], batch["student_at"], predict_at)
        loss = hidden_loss(student_states, teacher_states)
        if self._nll_weight:
            nll = functional.cross_entropy(logits, batch["targets"], reduction="sum")
            loss = loss + self._nll_weight * nll
        return loss * batch["weight"], len(teacher_states) * batch["weight"]

    @torch.no_grad()
    def teacher_states(self, batch: DistilBatch) -> torch.Tensor:
        """The hidden states (n, d) float32 of a batch's phrases at the corresponding positions; no row changes them.

        Args:
            batch: A batch of `batches.DistilCollator`.
        """
        nowhere = batch["predict_at"][:0]
        return self._read(batch["teacher"], batch["teacher_mask"], batch["teacher_at"], nowhere)[0]

    @torch.no_grad()
    def measure(self, batch: DistilBatch) -> torch.Tensor:
        """Compute the sums from which `measures.distance_report` makes its figures.

        Args:
            batch: A batch of `batches.DistilCollator`.

        Returns:
            (len(SUMS),) float64 on the CPU: ``loss`` and its part ``error`` (mean squared errors), ``power`` (the
            teacher's mean squares) and their number ``positions``; negative log-likelihoods of the common tokens after
            the new tokens (``nll_following``) and after the phrase (``nll_phrase``) and their number ``following``;
            that of the new tokens (``nll_tokens``) and their number ``tokens``.
        """
        self.rows.sync()
        teacher_states, teacher_logits = self._read(
            batch["teacher"], batch["teacher_mask"], batch["teacher_at"], batch["teacher_predict_at"]
        )
        student_states, logits = self._read(
            batch["student"], batch["student_mask"], batch["student_at"], batch["predict_at"]
        )
        follows, targets = batch["follows"], batch["targets"]
        error = hidden_loss(student_states, teacher_states)
        nll = functional.cross_entropy(logits, targets, reduction="none")
        new = torch.isin(targets, self.rows.ids)
        sums = {
            "loss": error + self._nll_weight * nll.sum(),
            "error": error,
            "power": hidden_loss(teacher_states, torch.zeros_like(teacher_states)),
            "positions": torch.tensor(len(teacher_states)),
            "nll_following": nll[follows].sum(),
            "nll_phrase": functional.cross_entropy(teacher_logits, targets[follows], reduction="sum"),
            "following": follows.sum(),
            "nll_tokens": nll[new].sum(),
            "tokens": new.sum(),
        }
        return torch.stack([sums[name].double().cpu() for name in self.SUMS])

    def _read(
        self, ids: torch.Tensor, mask: torch.Tensor, at: torch.Tensor, predict_at: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states (n, d) at places ``at`` of the flattened (B, T), logits (k, V) at ``predict_at``; float32."""
        model: Any = self._model[0]
        head = self.rows.head
        try:
            # Without positions to predict at, ``record`` keeps the head from computing any logits.
            head.positions, head.record = predict_at, len(predict_at) == 0
            outputs = model(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
        finally:
            head.reset()
        hidden: torch.Tensor = outputs.hidden_states[self._layer].flatten(0, 1)[at]
        logits: torch.Tensor = outputs.logits[0]
        return hidden.float(), logits.float()
