"""The objective of distillation: hidden states after a new token as they are after its phrase.

AweDist, later named Token Distillation (Dobler, Elliott and de Melo, arXiv 2505.20133): the frozen model reads a
context with the phrase in its old tokenization and yields hidden states; the embedding of the new token is learned so
that the same model, reading the token instead, comes to the same ones, in mean squared error. What the layers make of
the pieces of a phrase, and no mean of their rows holds, is so brought into one row.

It teaches how a token is *read*. How it is *written*, the head's row, takes no part in these hidden states, so:

- untied heads: output rows and head biases get no gradient, and stay at their start, unless the negative log-likelihood
  has a weight; with one they learn from it, as the paper's authors do it;
- tied heads: the one row is trained by its reading alone. How readily it is then written is nobody's aim: the report
  has the loss of predicting the token itself (`loss_token`), and a weight for the likelihood makes it one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from gti_cli.errors import InputError
from gti_cli.grounding.distil.batches import Batch
from gti_cli.grounding.rows import NewRows

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def hidden_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared error over the d coordinates, summed over n corresponding positions: (n, d), (n, d) -> 0-dim."""
    return (student.float() - teacher.float()).square().mean(-1).sum()


def check_layer(model: PreTrainedModel, layer: int | None) -> None:
    """Raise `InputError` for a layer that ``model`` does not have."""
    count = int(model.config.get_text_config().num_hidden_layers)
    if layer is not None and not 1 <= layer <= count:
        raise InputError(f"--distil-layer is {layer}", remedy=f"this model has the layers 1 to {count}")


class DistilModel(nn.Module):
    """What the Trainer trains: its parameters, and its state, are the new rows alone."""

    SUMS = ("loss", "error", "power", "positions", "nll_following", "nll_phrase", "following", "nll_tokens", "tokens")

    def __init__(
        self, model: PreTrainedModel, rows: NewRows, *, layer: int | None = None, nll_weight: float = 0.0
    ) -> None:
        """``rows`` must be attached to ``model`` whenever `forward` runs.

        Args:
            layer: whose output is compared, from 1 (None: the last, behind the final norm).
            nll_weight: of the negative log-likelihood (nats) beside the mean squared error. At 0 the output rows and
                biases of untied heads do not train.
        """
        super().__init__()
        self.rows = rows
        self._model = (model,)
        self._layer = -1 if layer is None else layer
        self._nll_weight = nll_weight
        for of_head in (rows.output, rows.bias):
            if of_head is not None:
                of_head.requires_grad_(nll_weight > 0)

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of a batch of `distil_batches.DistilCollator`.

        Returns:
            the sum over corresponding positions of the mean squared error (0-dim float32), plus ``nll_weight`` times
            the sum of the negative log-likelihood of the new tokens and all that follows them in the context; and the
            number of corresponding positions (0-dim int64).
        """
        self.rows.sync()
        nothing = batch["predict_at"][:0]
        with torch.no_grad():
            wanted, _ = self._read(batch["teacher"], batch["teacher_mask"], batch["teacher_at"], nothing)
        predicted = batch["predict_at"] if self._nll_weight else nothing
        found, logits = self._read(batch["student"], batch["student_mask"], batch["student_at"], predicted)
        loss = hidden_loss(found, wanted)
        if self._nll_weight:
            nll = functional.cross_entropy(logits, batch["targets"], reduction="sum")
            loss = loss + self._nll_weight * nll
        return loss * batch["weight"], len(wanted) * batch["weight"]

    @torch.no_grad()
    def measure(self, batch: Batch) -> torch.Tensor:
        """Sums over a batch, as `SUMS` names them (float64): of the loss, its parts, and what they are taken over."""
        self.rows.sync()
        wanted, by_teacher = self._read(
            batch["teacher"], batch["teacher_mask"], batch["teacher_at"], batch["teacher_predict_at"]
        )
        found, logits = self._read(batch["student"], batch["student_mask"], batch["student_at"], batch["predict_at"])
        follows, targets = batch["follows"], batch["targets"]
        error = hidden_loss(found, wanted)
        nll = functional.cross_entropy(logits, targets, reduction="none")
        new = torch.isin(targets, self.rows.ids)
        sums = {
            "loss": error + self._nll_weight * nll.sum(),
            "error": error,
            "power": hidden_loss(wanted, torch.zeros_like(wanted)),
            "positions": torch.tensor(len(wanted)),
            "nll_following": nll[follows].sum(),
            "nll_phrase": functional.cross_entropy(by_teacher, targets[follows], reduction="sum"),
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
            head.keep, head.record = predict_at, len(predict_at) == 0
            read = model(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
        finally:
            head.keep, head.record, head.recorded = None, False, None
        hidden: torch.Tensor = read.hidden_states[self._layer].flatten(0, 1)[at]
        logits: torch.Tensor = read.logits[0]
        return hidden.float(), logits.float()
