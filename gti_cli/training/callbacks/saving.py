"""Leaves out planned checkpoints that cost too much time beside the training that they protect."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gti_cli.workspace import processes

# A checkpoint may take at most this share of the training time since the last one.
MAX_TIME_SHARE = 0.1


class SkipCostlySaves(TrainerCallback):
    """Leaves out a planned checkpoint where training since the last one took less than ten times its duration.

    Ten checkpoints a run cost nothing on a CPU. On a fast GPU a checkpoint (three numbers for each weight) takes as
    long as dozens of steps. The duration of a checkpoint is that of the one before it, so the first is always written.
    """

    def __init__(self) -> None:
        self._duration = 0.0  # of the last checkpoint
        self._last_end = self._save_start = time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock: loading does not count as training."""
        self._last_end = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Cancel the checkpoint that the Trainer has planned for this step, if it costs too much."""
        self._save_start = time.monotonic()
        # Where training stops early, the checkpoint is what tells a rerun that it has.
        stops_early = control.should_training_stop and state.global_step < state.max_steps
        if control.should_save and not stops_early:
            trained = self._save_start - self._last_end
            control.should_save = _decided_by_first_process(MAX_TIME_SHARE * trained >= self._duration, args)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Set the start of the next checkpoint: logging is the last event before it, later than a validation."""
        self._save_start = time.monotonic()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure the checkpoint that was just written."""
        self._last_end = time.monotonic()
        self._duration = self._last_end - self._save_start


def _decided_by_first_process(worthwhile: bool, args: TrainingArguments) -> bool:
    """The first process's decision: all processes must save together, and their clocks differ."""
    if processes.world() == 1:
        return worthwhile
    import torch

    decision = torch.tensor(int(worthwhile), device=args.device)
    torch.distributed.broadcast(decision, 0)
    return bool(decision)
