"""The new rows of a causal LM as parameters of their own, everything else frozen.

The usual way to train a few rows is to train the whole matrix and mask its gradient: that keeps a gradient and
optimiser state for V rows, and weight decay moves the old ones. Here the old matrix is never a parameter: the
embedding looks new ids up in the parameter, and the head has a backward pass that yields the gradient of the new rows
alone. Both gradients are those of the masked matrix, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from gti_cli.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class NewRows(nn.Module):
    """Parameters for the rows ``ids`` of a model's input matrix, output matrix (untied) and head bias.

    Attributes:
        ids: (n,) int64. embedding: (n, d) float32 parameter, of the head as well where it is tied.
        output: (n, d) float32 parameter where the head is untied, else None. bias: (n,) where the head has a bias.
        head: what stands in for the model's head while `attached`.
    """

    ids: torch.Tensor

    def __init__(self, model: PreTrainedModel, ids: torch.Tensor) -> None:
        """Freeze ``model`` and copy the rows.

        Raises:
            InputError: the model embeds tokens in a way that this does not know.
        """
        super().__init__()
        model.requires_grad_(False)
        self._model = (model,)  # a tuple: the frozen model is no part of this module's state
        embedding: Any = model.get_input_embeddings()
        head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        if head is None or not hasattr(head, "weight"):
            raise InputError(f"{type(model).__name__} has no language-model head whose rows could be trained")
        tied = head.weight.data_ptr() == embedding.weight.data_ptr()
        self.register_buffer("ids", ids.to(embedding.weight.device), persistent=False)
        self.embedding = nn.Parameter(embedding.weight.detach()[self.ids].float().clone())
        self.output = None if tied else nn.Parameter(head.weight.detach()[self.ids].float().clone())
        bias = getattr(head, "bias", None)
        self.bias = None if bias is None else nn.Parameter(bias.detach()[self.ids].float().clone())
        self._embedding, self._head = (embedding,), (head,)
        self.head = GatheredHead(head, self)
        self._stand_in = (EmbeddingWithRows(embedding, self),)
        self._check(model)

    def sync(self) -> None:
        """Write the parameters into the model's matrices, in their number format; no other row is touched."""
        self._write(self._embedding[0], self._head[0])

    def write_into(self, model: PreTrainedModel) -> None:
        """Write the parameters into another copy of the model, as `sync` does; it may lie elsewhere."""
        self._write(model.get_input_embeddings(), model.get_output_embeddings())  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _write(self, embedding: Any, head: Any) -> None:
        _put(embedding.weight, self.ids, self.embedding)
        if self.output is not None:
            _put(head.weight, self.ids, self.output)
        if self.bias is not None:
            _put(head.bias, self.ids, self.bias)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Within the block the model reads and writes the new tokens through the parameters."""
        model = self._model[0]
        model.set_input_embeddings(self._stand_in[0])
        model.set_output_embeddings(self.head)  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            model.set_input_embeddings(self._embedding[0])
            model.set_output_embeddings(self._head[0])  # type: ignore[no-untyped-call]
            self.sync()

    def _check(self, model: PreTrainedModel) -> None:
        with torch.no_grad():
            known = self._embedding[0](self.ids[:1])
        with torch.enable_grad():
            ours = self._stand_in[0](self.ids[:1])
        if ours.shape != known.shape or not torch.equal(ours, known):
            raise InputError(f"{type(model).__name__} embeds tokens in a way that gti cannot train row by row")


def _put(matrix: torch.Tensor, ids: torch.Tensor, rows: torch.Tensor) -> None:
    matrix[ids.to(matrix.device)] = rows.to(matrix.device, matrix.dtype)


class EmbeddingWithRows(nn.Module):
    """An embedding whose new rows have a gradient."""

    def __init__(self, embedding: Any, rows: NewRows) -> None:
        super().__init__()
        self._embedding: tuple[Any] = (embedding,)
        self._rows = (rows,)
        place = torch.full((embedding.weight.shape[0],), -1, device=rows.ids.device)
        place[rows.ids] = torch.arange(len(rows.ids), device=rows.ids.device)
        self.register_buffer("place", place, persistent=False)

    @property
    def weight(self) -> torch.Tensor:
        """The whole matrix, as models ask for its dtype and device."""
        weight: torch.Tensor = self._embedding[0].weight
        return weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Embed ids (..., ) as (..., d)."""
        embedding, rows = self._embedding[0], self._rows[0]
        old: torch.Tensor = embedding(ids)
        if not torch.is_grad_enabled():
            return old  # the matrix holds the current rows (`NewRows.sync`)
        place = self.place[ids]  # type: ignore[index]
        new = functional.embedding(place.clamp(min=0), rows.embedding).to(old.dtype)
        scale = getattr(embedding, "embed_scale", None)  # Gemma and others scale inside the embedding
        if scale is not None:
            new = new * (scale.to(old.dtype) if isinstance(scale, torch.Tensor) else scale)
        return torch.where((place >= 0).unsqueeze(-1), new, old)


class GatheredHead(nn.Module):
    """A language-model head that computes logits at chosen positions only.

    The model's own forward goes on with them, so that whatever it does to logits (soft caps, scales) stays its own.

    Attributes:
        keep: (m,) int64 positions in the flattened (B * T) hidden states; None: all of them, with their shape.
        record: keep the hidden states at ``keep`` in ``recorded`` and compute no logits.
        carried: (c, d) hidden states that get logits as well, in front of the others.
    """

    def __init__(self, head: nn.Module, rows: NewRows) -> None:
        super().__init__()
        self._head: tuple[Any] = (head,)
        self._rows = (rows,)
        self.keep: torch.Tensor | None = None
        self.record = False
        self.recorded: torch.Tensor | None = None
        self.carried: torch.Tensor | None = None

    @property
    def weight(self) -> torch.Tensor:
        """The whole matrix, as models ask for its dtype and device."""
        weight: torch.Tensor = self._head[0].weight
        return weight

    @property
    def bias(self) -> torch.Tensor | None:
        """The whole bias, where the head has one."""
        return getattr(self._head[0], "bias", None)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states (B, T, d) to logits (1, c + m, V), or (B, T, V) where ``keep`` is None."""
        head = self._head[0]
        if self.keep is None:
            logits: torch.Tensor = head(hidden)
            return logits
        chosen = hidden.reshape(-1, hidden.shape[-1])[self.keep]
        if self.record:
            self.recorded = chosen
            return chosen.new_zeros(1, 0, len(head.weight))
        if self.carried is not None:
            chosen = torch.cat([self.carried, chosen])
        found: torch.Tensor = _Logits.apply(chosen, *head_operands(self._rows[0]))  # type: ignore[no-untyped-call]
        return found.unsqueeze(0)


def head_operands(rows: NewRows) -> tuple[torch.Tensor | None, ...]:
    """What logits are computed from beside hidden states, and the parameters that get their gradient.

    Returns:
        the head's new rows (n, d) and their biases (n,) as parameters; the whole matrix (V, d) and bias (V,), which
        hold them too; ids (n,) of the rows. Biases are None where the head has none.
    """
    weight_rows = rows.embedding if rows.output is None else rows.output
    return weight_rows, rows.bias, rows.head.weight, rows.head.bias, rows.ids


class _Logits(torch.autograd.Function):
    """Logits over the whole matrix (which holds the current rows) with a gradient for hidden states and new rows."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        rows: torch.Tensor,
        bias_rows: torch.Tensor | None,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        ids: torch.Tensor,
    ) -> torch.Tensor:
        """Logits (m, V) of hidden states (m, d)."""
        ctx.save_for_backward(hidden, weight, ids)
        ctx.has_bias = bias_rows is not None
        return functional.linear(hidden, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of hidden states, rows and their biases; the rest is frozen."""
        hidden, weight, ids = ctx.saved_tensors
        of_new = gradient[:, ids]
        of_hidden = gradient @ weight if ctx.needs_input_grad[0] else None
        of_rows = (of_new.T @ hidden).float() if ctx.needs_input_grad[1] else None
        of_bias = of_new.float().sum(0) if ctx.has_bias else None
        return of_hidden, of_rows, of_bias, None, None, None
