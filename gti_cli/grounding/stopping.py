"""Evaluation while new rows train: the curve of a run, the best rows of it, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gti_cli import console
from gti_cli.training.callbacks.best import BestState

HELD_OUT_LOSS = "held_out_loss"  # mean over the answer tokens of both directions: the objective, on unseen pairs
TIMES = 10  # evaluations in a run, unless they are told otherwise
FIGURES = "effective_rank"  # what every evaluation has: tells its entries of the log from others


class Evaluation(TrainerCallback):
    """Measures at given steps; with ``patience`` keeps the best state and stops when it gets no better.

    What was measured stands in the Trainer's log, so that a resumed run knows it; it is a function of the weights
    alone, so that it repeats itself exactly.
    """

    def __init__(
        self,
        measure: Callable[[], Mapping[str, Any]],
        steps: Sequence[int],
        best: BestState | None = None,
        patience: int | None = None,
    ) -> None:
        """``measure`` must find a ``held_out_loss`` where there is ``patience``, and then ``best`` is needed."""
        self._measure, self._steps, self._best, self._patience = measure, set(steps), best, patience

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Evaluate, if it is time."""
        if state.global_step not in self._steps:
            return
        values = dict(self._measure())
        state.log_history.append({"step": state.global_step, **values})
        console.note(f"step {state.global_step:,}: {_words(values)}")
        if self._best is not None and self._patience is not None:
            found = stopping(state.log_history, self._patience)
            if found["best_step"] == state.global_step:
                self._best.keep()
            if found["stopped"]:
                console.note(f"stopping: {found['reason']}")
                control.should_training_stop = True


def stopping(history: Sequence[Mapping[str, Any]], patience: int) -> dict[str, Any]:
    """Where a run stands, from the Trainer's log.

    Returns:
        ``best_step`` (the first of equal ones) and ``best_loss``, the lowest held-out loss so far; ``evaluations``;
        ``stopped``: whether the last ``patience`` evaluations brought no lower one; ``reason`` in words.
    """
    seen = [(int(entry["step"]), float(entry[HELD_OUT_LOSS])) for entry in history if HELD_OUT_LOSS in entry]
    best = min(range(len(seen)), key=lambda n: seen[n][1])
    step, loss = seen[best]
    since = len(seen) - 1 - best
    stopped = since >= patience
    reason = (
        f"the held-out loss has not improved for {since} evaluations (best {loss:.4f} at step {step:,})"
        if stopped
        else "all steps are done"
    )
    return {"best_step": step, "best_loss": loss, "evaluations": len(seen), "stopped": stopped, "reason": reason}


def _words(values: Mapping[str, Any]) -> str:
    shown = {HELD_OUT_LOSS: "held-out loss", "effective_rank": "effective rank", "rsa_spearman": "RSA (Spearman)"}
    return ", ".join(f"{words} {values[name]:.4g}" for name, words in shown.items() if values.get(name) is not None)


def evaluation_steps(steps: int, every: int | None, examples: int, batch_size: int) -> list[int]:
    """Every ``every`` steps, and the last one.

    Args:
        steps: of the whole run. examples: that an evaluation computes. batch_size: examples of a training step.
        every: None: about `TIMES` times a run, but not before as many examples were trained on as are evaluated, so
            that evaluating takes at most about a third of the time.
    """
    if every is None:
        every = max(round(steps / TIMES), math.ceil(examples / batch_size), 1)
    return sorted({*range(every, steps + 1, every), steps})


def trajectory(history: Sequence[Mapping[str, Any]], before: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The curve of a run as columns, None where a step has no such figure.

    Args:
        history: the Trainer's log. before: what was measured before the first step (becomes step 0).

    Returns:
        ``step``; ``loss`` of the training examples since the last such entry; and every figure of the evaluations.
    """
    points: dict[int, dict[str, Any]] = {0: dict(before)}
    for entry in history:
        names = ("loss",) if "loss" in entry else (before if FIGURES in entry else ())
        points.setdefault(int(entry["step"]), {}).update({name: entry[name] for name in names})
    steps = sorted(step for step, values in points.items() if values)
    return {"step": steps, **{name: [points[n].get(name) for n in steps] for name in ("loss", *before)}}
