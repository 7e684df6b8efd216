"""AdamW with a learning rate of its own for the new rows, and the sum of a run's learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


def adamw(
    model: nn.Module, learning_rate: float, *, rows: Sequence[nn.Parameter] = (), rows_rate: float | None = None
) -> torch.optim.AdamW:
    """AdamW (betas 0.9 and 0.999, no weight decay) over all parameters that train.

    Args:
        model: Parameters that do not train have ``requires_grad`` switched off.
        learning_rate: Learning rate of all parameters but ``rows``.
        rows: Parameters with a learning rate of their own.
        rows_rate: Their learning rate. None: ``learning_rate``.
    """
    import torch

    row_parameters = {id(parameter) for parameter in rows}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if id(p) not in row_parameters], "lr": learning_rate},
        {
            "params": [p for p in trained if id(p) in row_parameters],
            "lr": rows_rate if rows_rate is not None else learning_rate,
        },
    ]
    groups = [group for group in groups if group["params"]]
    fused = all(p.device.type in ("cpu", "cuda") for p in trained)
    return torch.optim.AdamW(groups, lr=learning_rate, weight_decay=0.0, fused=fused)


def scale_row_steps(optimizer: torch.optim.Optimizer, weight: nn.Parameter, ids: torch.Tensor, factor: float) -> None:
    """Multiply every step that an optimizer takes for some rows of a matrix.

    Adam's step is proportional to its learning rate, so these rows train with ``factor`` times the learning rate of
    the matrix that they are part of. No copy of the matrix is needed: the rows alone are copied during a step.

    Args:
        optimizer: Adam or AdamW without weight decay.
        weight: (V, d), the matrix.
        ids: (n,) numbers of the rows.
        factor: Their learning rate, divided by that of the matrix.
    """
    import torch

    copies: dict[str, torch.Tensor] = {}

    def before_step(*_: Any) -> None:
        """Copy the rows."""
        copies["rows"] = weight.detach()[ids]

    def after_step(*_: Any) -> None:
        """Stretch the change that the step made."""
        old = copies.pop("rows")
        with torch.no_grad():
            weight[ids] = old + (weight[ids] - old) * factor

    optimizer.register_step_pre_hook(before_step)
    optimizer.register_step_post_hook(after_step)


def sum_of_rates(peak: float, steps: int, warmup: int) -> float:
    """Sum of the learning rate over the steps of a run with linear warm-up and linear decay to 0.

    Args:
        peak: Learning rate after the warm-up.
        steps: Number of steps.
        warmup: Number of warm-up steps, in which the rate rises from 0.
    """
    rising = sum(step / warmup for step in range(min(warmup, steps)))
    falling = sum((steps - step) / max(steps - warmup, 1) for step in range(warmup, steps))
    return peak * (rising + falling)
