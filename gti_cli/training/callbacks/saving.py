"""Which of a run's planned saves are worth their time: those that cost little beside what would be lost."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gti_cli.workspace import processes

SHARE = 0.1  # of the training since the last save, at most, that the next one may cost


class Sparing(TrainerCallback):
    """Leaves out a planned save where training since the last one took less than ten times what that one cost.

    Ten saves a run are nothing on a CPU; on a fast GPU a save (three numbers for each weight) takes as long as dozens
    of steps. The first is always made.
    """

    def __init__(self) -> None:
        self._cost = 0.0
        self._last = self._begun = time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Loading is not training."""
        self._last = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Drop the save that the Trainer has planned for this step, if it is not worth it."""
        self._begun = time.monotonic()
        early = control.should_training_stop and state.global_step < state.max_steps  # a rerun has to know of that
        if control.should_save and not early:
            control.should_save = _agreed(SHARE * (self._begun - self._last) >= self._cost, args)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The last that happens before a save: a validation may have come between."""
        self._begun = time.monotonic()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """What it took."""
        self._last = time.monotonic()
        self._cost = self._last - self._begun


def _agreed(worth: bool, args: TrainingArguments) -> bool:
    """What the first process says: all of them save together, and their clocks differ."""
    if processes.world() == 1:
        return worth
    import torch

    said = torch.tensor(int(worth), device=args.device)
    torch.distributed.broadcast(said, 0)
    return bool(said)
