"""ReLU and dropout in one step: on a CPU the random numbers of dropout cost more than an RQ-VAE's matrix products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_STEPS = 1 << 15  # so fine is the share dropped
_BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}


class ReluDropout(nn.Module):
    """max(x, 0), of which a share ``dropout`` is set to 0 in training and the rest is scaled by 1 / (1 - dropout).

    In distribution the same as ``nn.ReLU`` and ``nn.Dropout`` (the share rounded to a multiple of 1 / 32,768), which is
    what runs on a GPU. On a CPU the mask comes from 15 random bits a number (torch's own generator, so a seed fixes
    it) and is applied to the bits of the numbers, which is several times faster than truth values.
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout

    def forward(self, rows: Tensor) -> Tensor:
        """Any shape."""
        if not self.training or self.dropout == 0:
            return rows.relu()
        if rows.device.type != "cpu" or rows.dtype not in _BITS:
            return nn.functional.dropout(rows.relu(), self.dropout)
        found: Tensor = _MaskedRelu.apply(rows, self.dropout)  # type: ignore[no-untyped-call]
        return found

    def extra_repr(self) -> str:
        """For printing."""
        return f"dropout={self.dropout}"


class _MaskedRelu(torch.autograd.Function):
    """What comes out is positive exactly where the gradient passes, so nothing else need be kept for it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, dropout: float) -> Tensor:
        """max(rows, 0), scaled, with a share ``dropout`` set to 0."""
        ctx.scale = 1 / (1 - dropout)
        found = rows.relu().mul_(ctx.scale)
        kind = _BITS[rows.dtype]
        found.view(kind).bitwise_and_(random_mask(rows.shape, dropout).to(kind))
        ctx.save_for_backward(found)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient where something was kept: the output itself is the mask."""
        (found,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradients[0] * ctx.scale, found, 0), None


def random_mask(shape: torch.Size, dropout: float) -> Tensor:
    """int16 of ``shape``: all bits set (-1), or with probability ``dropout`` none (0)."""
    count = shape.numel()
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    drawn = words.view(torch.int16)[:count].view(shape)
    # 15 random bits less the limit keep within 16 bits; the sign, spread over all bits, is the mask of what goes.
    return (drawn >> 1).sub_(round(dropout * _STEPS) - _STEPS // 2).bitwise_right_shift_(15).bitwise_not_()
