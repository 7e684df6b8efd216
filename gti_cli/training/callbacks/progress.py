"""The Trainer's progress on our own progress bar: on stderr, with rate and time left."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gti_cli import console


def show_progress(trainer: Trainer, description: str) -> None:
    """Show our progress bar in the place of the Trainer's own output, which goes to stdout.

    Args:
        trainer: The Trainer.
        description: Text before the bar.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(ProgressBar(description))


class ProgressBar(TrainerCallback):
    """Shows steps, rate, time left and the last loss, on the first process only."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._open = ExitStack()
        self._advance: console.Advance | None = None
        self._shown_step = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Open the bar, at the step from which a resumed run continues."""
        if not state.is_world_process_zero:
            return
        self._advance = self._open.enter_context(console.progress(self._description, state.max_steps, "steps"))
        self._shown_step = 0
        self._advance_to(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Advance the bar."""
        self._advance_to(state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Show the last loss."""
        if self._advance and logs and "loss" in logs:
            self._advance(0, note=f"loss {logs['loss']:.4f}")

    def close(self) -> None:
        """Close the bar, also where the training failed: an open one would leave its line half and hide all others."""
        self._open.close()
        self._advance = None

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the bar."""
        self.close()

    def _advance_to(self, step: int) -> None:
        if self._advance and step > self._shown_step:
            self._advance(step - self._shown_step)
            self._shown_step = step
