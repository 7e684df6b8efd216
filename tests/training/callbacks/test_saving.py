"""Saves that cost too much are left out; a rerun after any break-off ends in the same place all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerCallback

from gti_cli.training.arguments import last_checkpoint, train_or_resume, training_arguments
from gti_cli.training.callbacks import saving

SHARE = saving.MAX_TIME_SHARE  # the tests' own is another, see `conftest.saved_as_planned`


class Line(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": ((x @ self.weight - y) ** 2).mean()}


class Clock(TrainerCallback):
    """A clock that moves when it is told to: ``step`` seconds a step."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 100.0, step

    def monotonic(self) -> float:
        return self.now

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.now += self.step


def saves(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, *, step: float, cost: float, stop: int = 0, log: int = 1
) -> list[int]:
    """The steps behind which a run of 20 steps saves, one in two planned; ``stop``: a callback ends it there."""
    clock, found = Clock(step), []
    monkeypatch.setattr(saving, "MAX_TIME_SHARE", SHARE)
    monkeypatch.setattr(saving, "time", clock)
    device = torch.device("cpu")
    arguments = training_arguments(
        scratch,
        epochs=1,
        max_steps=20,
        batch_size=1,
        learning_rate=0.1,
        seed=0,
        device=device,
        save_steps=2,
        logging_steps=log,
    )

    class Early(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.now += 50.0  # a validation: neither training's time nor the save's
            if state.global_step == stop:
                control.should_training_stop = control.should_save = True

    data = [{"x": torch.randn(3), "y": torch.randn(())} for _ in range(20)]
    trainer = Trainer(Line(), arguments, train_dataset=data, callbacks=[clock, *([Early()] if stop else [])])
    plain = trainer._save_checkpoint

    def save(*given: Any, **more: Any) -> None:
        plain(*given, **more)
        found.append(trainer.state.global_step)
        clock.now += cost

    monkeypatch.setattr(trainer, "_save_checkpoint", save)
    train_or_resume(trainer, None, lambda _: False)
    return found


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (0.19, [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),  # a twentieth of the 2 s between two places and less: all
        (0.39, [2, 6, 10, 14, 18]),  # ten times that is 3.9 s: behind every fourth step
        (0.61, [2, 10, 18]),
        (5.0, [2]),
    ],
)
def test_a_save_may_cost_a_tenth_of_the_training_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cost: float, expected: list[int]
) -> None:
    assert saves(tmp_path, monkeypatch, step=1.0, cost=cost) == expected


def test_where_a_run_was_stopped_early_is_saved_in_any_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert saves(tmp_path, monkeypatch, step=1e-3, cost=5000.0, stop=7) == [2, 7]
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-7")


def test_a_validation_between_step_and_save_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 50 s of validation behind every step, and it is logged before the save: 0.19 s are the save's.
    assert saves(tmp_path, monkeypatch, step=1.0, cost=0.19, stop=99) == list(range(2, 21, 2))


def test_processes_obey_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[int] = []

    def broadcast(value: torch.Tensor, source: int) -> None:
        said.append(int(value))
        assert source == 0
        value.fill_(0)

    monkeypatch.setattr("gti_cli.workspace.processes.world", lambda: 2)
    monkeypatch.setattr(torch.distributed, "broadcast", broadcast)

    class Arguments:
        device = torch.device("cpu")

    assert saving._decided_by_first_process(True, Arguments()) is False  # type: ignore[arg-type]
    assert said == [1]
