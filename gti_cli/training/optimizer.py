"""AdamW with a learning rate of its own for the new rows, and how far that lets them travel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


def adamw(
    model: nn.Module, learning_rate: float, *, rows: Sequence[nn.Parameter] = (), rows_rate: float | None = None
) -> torch.optim.AdamW:
    """AdamW (betas .9 and .999, no weight decay) over all parameters that train.

    Args:
        rows: parameters that get ``rows_rate`` (None: ``learning_rate`` as well).
    """
    import torch

    apart = {id(parameter) for parameter in rows}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if id(p) not in apart], "lr": learning_rate},
        {"params": [p for p in trained if id(p) in apart], "lr": rows_rate if rows_rate is not None else learning_rate},
    ]
    groups = [group for group in groups if group["params"]]
    fused = all(p.device.type in ("cpu", "cuda") for p in trained)
    return torch.optim.AdamW(groups, lr=learning_rate, weight_decay=0.0, fused=fused)


def scale_row_steps(optimizer: torch.optim.Optimizer, weight: nn.Parameter, ids: torch.Tensor, factor: float) -> None:
    """Multiply every step that ``optimizer`` takes for rows ``ids`` of ``weight`` by ``factor``.

    Adam's step is proportional to its learning rate, so these rows train with ``factor`` times the rate of the matrix
    that they are part of, without a copy of the matrix (n rows are kept for the time of a step).
    """
    import torch

    kept: dict[str, torch.Tensor] = {}

    def before(*_: Any) -> None:
        """Keep the rows as they are."""
        kept["rows"] = weight.detach()[ids]

    def after(*_: Any) -> None:
        """Stretch what the step did to them."""
        old = kept.pop("rows")
        with torch.no_grad():
            weight[ids] = old + (weight[ids] - old) * factor

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)


def sum_of_rates(peak: float, steps: int, warmup: int) -> float:
    """Sum of the learning rate over a run: linear from 0 to ``peak`` in ``warmup`` steps, then linear to 0."""
    rising = sum(step / warmup for step in range(min(warmup, steps)))
    falling = sum((steps - step) / max(steps - warmup, 1) for step in range(warmup, steps))
    return peak * (rising + falling)
