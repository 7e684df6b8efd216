"""Stops a training that diverges at once, with an error that says which option to lower."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gti_cli.errors import InputError
from gti_cli.workspace import processes


def end_if_diverged(trainer: Trainer, rates: str, steps: Sequence[int] = ()) -> None:
    """End a training when its loss or its weights become NaN or infinite.

    Args:
        trainer: The Trainer. Call this before adding callbacks that measure the weights, so that they are checked
            first.
        rates: Options to lower, for the error message.
        steps: Steps after which weights are checked, besides the last one: those at which other callbacks measure.
    """
    trainer.add_callback(DivergenceCheck(rates, steps))


class DivergenceCheck(TrainerCallback):
    """Checks each logged loss, which is on the CPU by then, and the weights that train after given steps.

    Raises:
        InputError: When one of them is not finite. It is raised during training, on all processes alike.
    """

    def __init__(self, rates: str, steps: Sequence[int]) -> None:
        self._rates, self._steps = rates, set(steps)
        self._initial_count = 0

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module | None = None,
        **_: Any,
    ) -> None:
        """Count what was not finite before training: in a checkpoint, a row that no token uses may hold anything."""
        self._initial_count = 0 if model is None else _count_not_finite(model)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module | None = None,
        **_: Any,
    ) -> None:
        """Check the weights after the given steps; the loss alone would not do, as it is computed before the step."""
        step = state.global_step
        due = step in self._steps or step >= state.max_steps
        if model is not None and due and _count_not_finite(model) > self._initial_count:
            raise self._error(f"weights are NaN or infinite after step {step:,}")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Check the loss."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise self._error(f"the loss is {loss} at step {state.global_step:,}")

    def _error(self, problem: str) -> InputError:
        return InputError(f"the training diverged: {problem}", remedy=f"lower {self._rates}")


@torch.no_grad()
def _count_not_finite(model: torch.nn.Module) -> int:
    """Number of trainable weights that are NaN or infinite; each process counts in the part that it holds."""
    counts: list[torch.Tensor] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            own: Any = parameter.to_local() if hasattr(parameter, "to_local") else parameter
            counts.append((~torch.isfinite(own)).sum())
    if not counts:
        return 0
    total = torch.stack(counts).sum()
    if processes.world() > 1 and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
    return int(total)
