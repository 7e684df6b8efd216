"""A training that diverges ends at once, with a line that says what to lower."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gti_cli.errors import InputError
from gti_cli.workspace import processes


def end_if_diverged(trainer: Trainer, rates: str, steps: Sequence[int] = ()) -> None:
    """Let ``trainer`` end where its loss or its weights are no finite numbers any more.

    Args:
        trainer: to watch. rates: the options to lower, for the error line.
        steps: where weights are looked at, besides the last: those at which a callback that is added later measures.
    """
    trainer.add_callback(Divergence(rates, steps))


class Divergence(TrainerCallback):
    """Looks at each logged loss, which is on the CPU by then, and at the weights that train after given steps.

    Raises:
        InputError: in the training, on all processes alike.
    """

    def __init__(self, rates: str, steps: Sequence[int]) -> None:
        self._rates, self._steps = rates, set(steps)
        self._from_the_start = 0

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module | None = None,
        **_: Any,
    ) -> None:
        """Remember what a checkpoint brings along: a row that no token uses may hold anything."""
        self._from_the_start = 0 if model is None else _not_finite(model)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module | None = None,
        **_: Any,
    ) -> None:
        """Look at the weights, if it is time: a loss is that of the weights before its step."""
        step = state.global_step
        due = step in self._steps or step >= state.max_steps
        if model is not None and due and _not_finite(model) > self._from_the_start:
            raise self._error(f"weights are no finite numbers after step {step:,}")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Look at the loss."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise self._error(f"the loss is no finite number ({loss}) at step {state.global_step:,}")

    def _error(self, found: str) -> InputError:
        return InputError(f"the training diverged: {found}", remedy=f"lower {self._rates}")


@torch.no_grad()
def _not_finite(model: torch.nn.Module) -> int:
    """How many weights of ``model`` that train are NaN or infinite; each process looks at the part that it holds."""
    counts: list[torch.Tensor] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            own: Any = parameter.to_local() if hasattr(parameter, "to_local") else parameter
            counts.append((~torch.isfinite(own)).sum())
    if not counts:
        return 0
    found = torch.stack(counts).sum()
    if processes.world() > 1 and torch.distributed.is_initialized():
        torch.distributed.all_reduce(found)
    return int(found)
