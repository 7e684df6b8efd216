"""Evaluations during the training: when they take place, the curve of a run, and when to stop early."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gti_cli import console
from gti_cli.training.callbacks.best import BestState

HELD_OUT_LOSS = "held_out_loss"  # the objective's mean on held-out examples, over both directions if both train
EVALUATIONS = 10  # evaluations of a run, unless --eval-every says otherwise
_IN_EVERY_EVALUATION = "effective_rank"  # tells an evaluation's log entries from the Trainer's own


class Evaluation(TrainerCallback):
    """Measures at given steps. With ``patience``, also keeps the best state and stops when there is no improvement.

    The figures go into the Trainer's log, which a resumed run reads. They depend on the weights alone, so a resumed run
    measures exactly the same.
    """

    def __init__(
        self,
        measure: Callable[[], Mapping[str, Any]],
        steps: Sequence[int],
        best: BestState | None = None,
        patience: int | None = None,
    ) -> None:
        """Prepare the evaluations of a run.

        Args:
            measure: Returns the figures by name. With ``patience``, `HELD_OUT_LOSS` must be among them.
            steps: Steps after which to measure.
            best: Keeps the best state; needed with ``patience``.
            patience: Stop after this number of evaluations without a lower held-out loss (None: never).
        """
        self._measure, self._steps, self._best, self._patience = measure, set(steps), best, patience

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Evaluate after the steps that were given; the name and arguments are those of transformers.

        Args:
            args: Not used.
            state: Has the step and the log.
            control: Receives the request to stop the training.
        """
        if state.global_step not in self._steps:
            return
        figures = dict(self._measure())
        state.log_history.append({"step": state.global_step, **figures})
        console.note(f"step {state.global_step:,}: {_in_words(figures)}")
        if self._best is not None and self._patience is not None:
            status = stopping_status(state.log_history, self._patience)
            if status["best_step"] == state.global_step:
                self._best.keep()
            if status["stopped"]:
                console.note(f"stopping: {status['reason']}")
                control.should_training_stop = True


def stopping_status(history: Sequence[Mapping[str, Any]], patience: int) -> dict[str, Any]:
    """Find the best evaluation so far, and whether it is time to stop.

    Args:
        history: The Trainer's log, with at least one evaluation.
        patience: Evaluations without improvement after which to stop.

    Returns:
        ``best_step`` and ``best_loss``: the first evaluation with the lowest held-out loss. ``evaluations``: their
        number. ``stopped``: whether the last ``patience`` evaluations brought no lower loss. ``reason``: in words.
    """
    losses = [(int(entry["step"]), float(entry[HELD_OUT_LOSS])) for entry in history if HELD_OUT_LOSS in entry]
    best = min(range(len(losses)), key=lambda n: losses[n][1])
    step, loss = losses[best]
    since = len(losses) - 1 - best
    stopped = since >= patience
    reason = (
        f"the held-out loss has not improved for {since} evaluations (best {loss:.4f} at step {step:,})"
        if stopped
        else "all steps are done"
    )
    return {"best_step": step, "best_loss": loss, "evaluations": len(losses), "stopped": stopped, "reason": reason}


def _in_words(figures: Mapping[str, Any]) -> str:
    labels = {HELD_OUT_LOSS: "held-out loss", "effective_rank": "effective rank", "rsa_spearman": "RSA (Spearman)"}
    return ", ".join(f"{label} {figures[name]:.4g}" for name, label in labels.items() if figures.get(name) is not None)


def evaluation_steps(steps: int, every: int | None, examples: int, batch_size: int) -> list[int]:
    """Choose the steps after which to evaluate; the last step is always one of them.

    Args:
        steps: Number of steps of the run.
        every: Steps between evaluations. None: about `EVALUATIONS` in a run, but fewer if more examples would be
            evaluated than trained on. Evaluations then take at most about a third of the time.
        examples: Number of examples that an evaluation computes.
        batch_size: Examples of a training step.

    Returns:
        The steps, from 1, in ascending order.
    """
    if every is None:
        every = max(round(steps / EVALUATIONS), math.ceil(examples / batch_size), 1)
    return sorted({*range(every, steps + 1, every), steps})


def trajectory(history: Sequence[Mapping[str, Any]], before: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Arrange a run's curve as columns, with None where a step has no such figure.

    Args:
        history: The Trainer's log.
        before: The figures before the first step, which become step 0.

    Returns:
        ``step``; ``loss`` of the training examples since the previous logged loss; each figure of the evaluations.
    """
    points: dict[int, dict[str, Any]] = {0: dict(before)}
    for entry in history:
        names = ("loss",) if "loss" in entry else (before if _IN_EVERY_EVALUATION in entry else ())
        points.setdefault(int(entry["step"]), {}).update({name: entry[name] for name in names})
    steps = sorted(step for step, figures in points.items() if figures)
    return {"step": steps, **{name: [points[step].get(name) for step in steps] for name in ("loss", *before)}}
