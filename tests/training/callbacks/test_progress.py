"""Progress of a training: on stderr, from where a resumed run continues, on the first process only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import PrinterCallback

from gti_cli import console
from gti_cli.training.arguments import train_or_resume
from gti_cli.training.callbacks.progress import ProgressBar, show_progress


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the progress bar is asked to show: its opening, its advances and notes, its closing."""
    events: list[Any] = []

    @contextmanager
    def progress(description: str, total: int, unit: str) -> Iterator[Any]:
        events.append(("open", description, total, unit))
        yield lambda steps=1, *, note="": events.append((steps, note))
        events.append("close")

    monkeypatch.setattr(console, "progress", progress)
    return events


def run(first_step: int, steps: int, *, first_process: bool = True) -> None:
    callback = ProgressBar("Fitting")
    state: Any = SimpleNamespace(is_world_process_zero=first_process, max_steps=steps, global_step=first_step)
    given: Any = (None, state, None)
    callback.on_train_begin(*given)
    for step in range(first_step + 1, steps + 1):
        state.global_step = step
        callback.on_step_end(*given)
        callback.on_log(*given, logs={"loss": 0.5} if step % 2 == 0 else {"grad_norm": 1.0})
    callback.on_train_end(*given)
    callback.on_step_end(*given)  # after the end nothing is shown


def test_every_step_and_every_loss(bar: list[Any]) -> None:
    run(0, 3)
    assert bar == [("open", "Fitting", 3, "steps"), (1, ""), (1, ""), (0, "loss 0.5000"), (1, ""), "close"]


def test_a_resumed_run_starts_where_it_was(bar: list[Any]) -> None:
    run(5, 6)
    assert bar[1:] == [(5, ""), (1, ""), (0, "loss 0.5000"), "close"]


def test_other_processes_show_nothing(bar: list[Any]) -> None:
    run(0, 3, first_process=False)
    assert bar == []


def test_takes_the_place_of_the_trainers_printing() -> None:
    removed: list[Any] = []
    added: list[Any] = []
    trainer: Any = SimpleNamespace(remove_callback=removed.append, add_callback=added.append)
    show_progress(trainer, "Fitting")
    assert removed == [PrinterCallback] and [type(callback) for callback in added] == [ProgressBar]


def test_the_bar_is_closed_where_the_training_fails(bar: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    callback = ProgressBar("Fitting")
    state: Any = SimpleNamespace(is_world_process_zero=True, max_steps=3, global_step=0)

    def fail(**_: Any) -> None:
        callback.on_train_begin(None, state, None)  # type: ignore[arg-type]
        raise RuntimeError("out of memory")

    callbacks = SimpleNamespace(callbacks=[callback])
    trainer: Any = SimpleNamespace(train=fail, callback_handler=callbacks, add_callback=lambda _: None)
    with pytest.raises(RuntimeError, match="out of memory"):
        train_or_resume(trainer, None, lambda _: False)
    assert bar == [("open", "Fitting", 3, "steps"), "close"]
