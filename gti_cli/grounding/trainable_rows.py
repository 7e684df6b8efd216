"""The new rows of a causal LM as parameters of their own, with everything else frozen.

The usual way to train a few rows is to train the whole matrix and to mask its gradient. That needs a gradient and
optimizer state for all V rows, and weight decay moves the pretrained ones. Here the pretrained matrix is never a
parameter. The embedding looks new ids up in a parameter of n rows, and the output head has a backward pass that
computes the gradient of the new rows alone. Both gradients are exactly those of the masked matrix.

This is the last module on the way of a pair: `nll.objective` and `nll.head_loss` (or `distil.objective`) compute the
loss whose gradient arrives here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from gti_cli.errors import InputError
from gti_cli.training.head_loss import HeadTensors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from transformers import PreTrainedModel


class NewRows(nn.Module):
    """Parameters for the new rows of a model's input embedding, of its output head if untied, and of the head's bias.

    Attributes:
        ids: (n,) int64. Token ids of the new rows.
        embedding: (n, d) float32 parameter. Rows of the input embedding, and of the output head if it is tied.
        output: (n, d) float32 parameter. Rows of an untied output head (None: it is tied).
        bias: (n,) float32 parameter. Entries of the head's bias (None: it has none).
        head: Replaces the model's output head while `attached`.
    """

    ids: torch.Tensor

    def __init__(self, model: PreTrainedModel, ids: torch.Tensor, among: torch.Tensor | None = None) -> None:
        """Freeze a model and copy its new rows.

        Args:
            model: A causal LM. All of its parameters are frozen.
            ids: (n,) int64. Token ids of the new rows that train.
            among: (m,) int64. Token ids of all new rows, for `matrices` (None: those of ``ids``).

        Raises:
            InputError: When the model has no output head, or embeds tokens in a way that is not supported.
        """
        super().__init__()
        model.requires_grad_(False)
        self._model = (model,)  # in a tuple, so that the frozen model is not part of this module's state
        embedding: Any = model.get_input_embeddings()
        head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        if head is None or not hasattr(head, "weight"):
            raise InputError(f"{type(model).__name__} has no language-model head whose rows could be trained")
        tied = head.weight.data_ptr() == embedding.weight.data_ptr()
        self._among = ids if among is None else among
        self.register_buffer("ids", ids.to(embedding.weight.device), persistent=False)
        self.embedding = nn.Parameter(embedding.weight.detach()[self.ids].float().clone())
        self.output = None if tied else nn.Parameter(head.weight.detach()[self.ids].float().clone())
        bias = getattr(head, "bias", None)
        self.bias = None if bias is None else nn.Parameter(bias.detach()[self.ids].float().clone())
        self._embedding, self._head = (embedding,), (head,)
        self.head = SelectiveHead(head, self)
        self._replacement = (EmbeddingWithRows(embedding, self),)
        self._check(model)

    def sync(self) -> None:
        """Write the parameters into the model's matrices, in their number format; no pretrained row is touched."""
        self._write(self._embedding[0], self._head[0])

    def write_into(self, model: PreTrainedModel) -> None:
        """Write the parameters into another copy of the model, as `sync` does; it may be on another device."""
        self._write(model.get_input_embeddings(), model.get_output_embeddings())  # type: ignore[no-untyped-call]

    def trained(self) -> dict[str, npt.NDArray[np.float32]]:
        """Copies of the rows that train (n, d), by prefix of their figures' names, as `matrices`."""
        parameters = {"": self.embedding, "output_": self.output}
        return {name: p.detach().cpu().numpy().copy() for name, p in parameters.items() if p is not None}

    def matrices(self) -> dict[str, npt.NDArray[np.float32]]:
        """Copies of all new rows (m, d), named as in `trained`: those that do not train are the model's."""
        trained = self.trained()
        ids, among = self.ids.tolist(), self._among.tolist()
        if ids == among:
            return trained
        number_of = {token: number for number, token in enumerate(among)}
        places = [number_of[token] for token in ids]
        matrices = {"": self._embedding[0].weight, "output_": self._head[0].weight}
        rows = {}
        for name, own in trained.items():
            chosen = matrices[name].detach()[self._among.to(matrices[name].device)]
            rows[name] = chosen.float().cpu().numpy()
            rows[name][places] = own
        return rows

    @torch.no_grad()
    def _write(self, embedding: Any, head: Any) -> None:
        _put(embedding.weight, self.ids, self.embedding)
        if self.output is not None:
            _put(head.weight, self.ids, self.output)
        if self.bias is not None:
            _put(head.bias, self.ids, self.bias)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Within the block, the model reads and writes the new tokens through the parameters.

        Yields:
            Nothing.
        """
        model = self._model[0]
        model.set_input_embeddings(self._replacement[0])
        model.set_output_embeddings(self.head)  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            model.set_input_embeddings(self._embedding[0])
            model.set_output_embeddings(self._head[0])  # type: ignore[no-untyped-call]
            self.sync()

    def _check(self, model: PreTrainedModel) -> None:
        """Refuse an embedding that does more than look up a row and scale it."""
        with torch.no_grad():
            expected = self._embedding[0](self.ids[:1])
        with torch.enable_grad():
            ours = self._replacement[0](self.ids[:1])
        if ours.shape != expected.shape or not torch.equal(ours, expected):
            raise InputError(f"{type(model).__name__} embeds tokens in a way that gti cannot train row by row")


def _put(matrix: torch.Tensor, ids: torch.Tensor, rows: torch.Tensor) -> None:
    matrix[ids.to(matrix.device)] = rows.to(matrix.device, matrix.dtype)


class EmbeddingWithRows(nn.Module):
    """An input embedding of which only the new rows have a gradient."""

    def __init__(self, embedding: Any, rows: NewRows) -> None:
        super().__init__()
        self._embedding: tuple[Any] = (embedding,)
        self._rows = (rows,)
        # (V,) index of each token id among the new rows, -1 for pretrained tokens.
        index = torch.full((embedding.weight.shape[0],), -1, device=rows.ids.device)
        index[rows.ids] = torch.arange(len(rows.ids), device=rows.ids.device)
        self.register_buffer("index", index, persistent=False)

    @property
    def weight(self) -> torch.Tensor:
        """The whole matrix (V, d); models read its dtype and device."""
        weight: torch.Tensor = self._embedding[0].weight
        return weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Embed ids (...) as (..., d)."""
        embedding, rows = self._embedding[0], self._rows[0]
        old: torch.Tensor = embedding(ids)
        if not torch.is_grad_enabled():
            return old  # the matrix holds the current rows (`NewRows.sync`)
        index = self.index[ids]  # type: ignore[index]
        # Pretrained tokens look row 0 up and are replaced below, so that they add nothing to its gradient.
        new = functional.embedding(index.clamp(min=0), rows.embedding).to(old.dtype)
        scale = getattr(embedding, "embed_scale", None)  # Gemma and others scale inside the embedding
        if scale is not None:
            new = new * (scale.to(old.dtype) if isinstance(scale, torch.Tensor) else scale)
        return torch.where((index >= 0).unsqueeze(-1), new, old)


class SelectiveHead(nn.Module):
    """An output head that computes logits at chosen positions only, or only records the hidden states there.

    The model's own forward pass continues with these logits, so its soft caps and scales apply to them as usual.

    Attributes:
        positions: (m,) int64. Where to compute logits, as indices into the flattened (B * T) hidden states. None: at
            all of them, with their shape.
        record: Store the hidden states at ``positions`` in ``recorded``, and compute no logits.
        recorded: (m, d) hidden states, stored by the last forward pass with ``record``.
        prepended: (c, d) hidden states that get logits too, in front of those at ``positions``.
    """

    def __init__(self, head: nn.Module, rows: NewRows) -> None:
        super().__init__()
        self._head: tuple[Any] = (head,)
        self._rows = (rows,)
        self.positions: torch.Tensor | None = None
        self.record = False
        self.recorded: torch.Tensor | None = None
        self.prepended: torch.Tensor | None = None

    def reset(self) -> None:
        """Compute logits everywhere, as the model's own head does."""
        self.positions, self.record, self.recorded, self.prepended = None, False, None, None

    @property
    def weight(self) -> torch.Tensor:
        """The whole matrix (V, d); models read its dtype and device."""
        weight: torch.Tensor = self._head[0].weight
        return weight

    @property
    def bias(self) -> torch.Tensor | None:
        """The whole bias (V,), where the head has one."""
        return getattr(self._head[0], "bias", None)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Compute logits.

        Args:
            hidden: (B, T, d) hidden states.

        Returns:
            Logits: (B, T, V) at all positions if ``positions`` is None. Else (1, c + m, V), at the c states of
            ``prepended`` and the m positions of ``positions``. (1, 0, V) if ``record``: the states at ``positions``
            are then kept in ``recorded``, and no logits are computed.
        """
        head = self._head[0]
        if self.positions is None:
            logits: torch.Tensor = head(hidden)
            return logits
        chosen = hidden.reshape(-1, hidden.shape[-1])[self.positions]
        if self.record:
            self.recorded = chosen
            return chosen.new_zeros(1, 0, len(head.weight))
        if self.prepended is not None:
            chosen = torch.cat([self.prepended, chosen])
        gathered: torch.Tensor = _Logits.apply(chosen, *head_operands(self._rows[0]))  # type: ignore[no-untyped-call]
        return gathered.unsqueeze(0)


def head_operands(rows: NewRows) -> HeadTensors:
    """Collect the tensors from which the head computes logits, and the parameters that receive their gradient.

    Args:
        rows: The new rows of a model.
    """
    weight_rows = rows.embedding if rows.output is None else rows.output
    return HeadTensors(weight_rows, rows.bias, rows.head.weight, rows.head.bias, rows.ids)


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
        """Logits (m, V) of hidden states (m, d); the other arguments are those of `head_operands`.

        ``rows`` and ``bias_rows`` are arguments so that autograd sends them a gradient. Their values are read from
        ``weight`` and ``bias``, into which `NewRows.sync` has copied them.
        """
        ctx.save_for_backward(hidden, weight, ids)
        ctx.has_bias = bias_rows is not None
        return functional.linear(hidden, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of hidden states, new rows and their biases; everything else is frozen."""
        hidden, weight, ids = ctx.saved_tensors
        new_gradient = gradient[:, ids]
        hidden_gradient = gradient @ weight if ctx.needs_input_grad[0] else None
        rows_gradient = (new_gradient.T @ hidden).float() if ctx.needs_input_grad[1] else None
        bias_gradient = new_gradient.float().sum(0) if ctx.has_bias else None
        return hidden_gradient, rows_gradient, bias_gradient, None, None, None
