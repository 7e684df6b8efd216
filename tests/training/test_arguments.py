"""The shared arguments in a real, tiny Trainer run: resumed runs end where unbroken ones do."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerCallback

from gti_cli.errors import InputError
from gti_cli.training.arguments import (
    _check_deepspeed,
    _use_only,
    last_checkpoint,
    planned_arguments,
    train_or_resume,
    training_arguments,
)
from gti_cli.training.callbacks.progress import show_progress


class Line(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": ((x @ self.weight - y) ** 2).mean()}


class Stop(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 7:
            raise KeyboardInterrupt


def train(scratch: Path, callbacks: list[Any], **more: Any) -> torch.Tensor:
    torch.manual_seed(0)
    data = [{"x": torch.randn(3), "y": torch.randn(())} for _ in range(21)]
    arguments = training_arguments(
        scratch, epochs=2, max_steps=None, batch_size=4, learning_rate=0.1, seed=1, device=torch.device("cpu"), **more
    )
    trainer = Trainer(Line(), arguments, train_dataset=data, callbacks=callbacks)
    show_progress(trainer, "Fitting")
    trainer.train(resume_from_checkpoint=last_checkpoint(scratch))
    assert trainer.state.global_step == 12  # 21 examples in batches of 4: the last batch is not dropped
    return trainer.model.weight.detach()


def test_resumed_run_equals_the_unbroken_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = train(tmp_path / "a", [])
    captured = capsys.readouterr()
    assert "Fitting: 12/12 steps" in captured.err
    assert captured.out == ""
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", [Stop()], save_steps=3)
    assert last_checkpoint(tmp_path / "b") == str(tmp_path / "b" / "checkpoint-6")
    assert torch.equal(train(tmp_path / "b", [], save_steps=3), whole)


class Refused(pickle.Unpickler):
    def __init__(self, *_: Any, **__: Any) -> None:
        raise AssertionError("something was unpickled")


def test_resuming_unpickles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Trainer stores optimizer and random numbers with torch, which reads them without the module `pickle`."""
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, [Stop()], save_steps=3)
    assert (tmp_path / "checkpoint-6" / "optimizer.pt").is_file()
    monkeypatch.setattr(pickle, "Unpickler", Refused)
    train(tmp_path, [], save_steps=3)
    torch.save([torch.nn.Linear(1, 1)], tmp_path / "pickle.pt")
    with pytest.raises(AssertionError, match="unpickled"):  # the wall is where torch would go through
        torch.load(tmp_path / "pickle.pt", weights_only=False)


def test_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-9" / "trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")


@pytest.mark.parametrize("content", [b"", b'{"global_step": 3', b"\xff\xfe", b"[]"])
def test_a_damaged_state_blocks_no_resuming(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    whole = train(tmp_path / "a", [])
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", [Stop()], save_steps=3, save_total_limit=2)
    for step, then in ((6, "checkpoint-3"), (3, None)):
        (tmp_path / "b" / f"checkpoint-{step}" / "trainer_state.json").write_bytes(content)
        capsys.readouterr()
        assert last_checkpoint(tmp_path / "b") == (str(tmp_path / "b" / then) if then else None)
        assert f"checkpoint-{step}" in capsys.readouterr().err
        assert not (tmp_path / "b" / f"checkpoint-{step}").exists()
    assert torch.equal(train(tmp_path / "b", [], save_steps=3), whole)
    assert (tmp_path / "b" / "checkpoint-12").is_dir()


def test_the_cpu_of_several_processes_has_no_number(tmp_path: Path) -> None:
    """Among several processes the Trainer says cpu:0; torch loads nothing onto that, so resuming would fail."""
    arguments = planned_arguments(tmp_path, 1, batch_size=1, learning_rate=0.1, seed=0, device=torch.device("cpu"))
    arguments.__dict__["_setup_devices"] = torch.device("cpu", 0)
    torch.save(torch.ones(1), tmp_path / "state.pt")
    with pytest.raises(RuntimeError, match="restore data location"):
        torch.load(tmp_path / "state.pt", map_location=arguments.device, weights_only=True)
    _use_only(arguments, torch.device("cpu"))
    assert torch.load(tmp_path / "state.pt", map_location=arguments.device, weights_only=True).item() == 1


def test_a_run_that_had_finished_takes_no_further_step(tmp_path: Path) -> None:
    train(tmp_path / "a", [], save_steps=3)
    (tmp_path / "b" / "checkpoint-9").mkdir(parents=True)
    state = '{"global_step": 9, "log_history": [{"loss": 1.0}], "max_steps": 12}'
    (tmp_path / "b" / "checkpoint-9" / "trainer_state.json").write_text(state)
    arguments = training_arguments(
        tmp_path / "b",
        epochs=3,
        max_steps=None,
        batch_size=1,
        learning_rate=0.1,
        seed=0,
        device=torch.device("cpu"),
    )
    trainer = Trainer(Line(), arguments, train_dataset=[{"x": torch.ones(3), "y": torch.ones(())}])
    train_or_resume(trainer, last_checkpoint(tmp_path / "b"), lambda log: log == [{"loss": 1.0}])
    assert trainer.state.global_step == 9 and not trainer.model.weight.any()
    train_or_resume(trainer, None, lambda _: True)
    assert trainer.state.global_step == 3 and trainer.model.weight.any()


@pytest.mark.parametrize(("steps", "trains_at"), [(1, [0.1]), (2, [0.0, 0.1]), (4, [0.0, 0.1, 0.1 * 2 / 3, 0.1 / 3])])
def test_a_run_of_one_step_trains(tmp_path: Path, steps: int, trains_at: list[float]) -> None:
    """The warm-up rises from 0 in its first step: a run that has only this one would train nothing."""
    arguments = planned_arguments(tmp_path, steps, batch_size=1, learning_rate=0.1, seed=0, device=torch.device("cpu"))
    trainer = Trainer(Line(), arguments, train_dataset=[{"x": torch.ones(3), "y": torch.ones(())}] * steps)
    trainer.train()
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry]
    assert rates == pytest.approx(trains_at)
    assert trainer.model.weight.any()


@pytest.mark.parametrize("world", [1, 2])
def test_the_chosen_gpu_is_used(tmp_path: Path, monkeypatch: Any, world: int) -> None:
    """Without a GPU here: what the Trainer is told. Under torchrun each process has its own, as the Trainer has it."""
    chosen: list[Any] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr("gti_cli.workspace.processes.world", lambda: world)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    second = torch.device("cuda", 1)
    arguments = training_arguments(
        tmp_path, epochs=1, max_steps=1, batch_size=1, learning_rate=0.1, seed=0, device=second
    )
    assert (arguments.device == second) == (chosen == [second]) == (world == 1)


@pytest.mark.parametrize("launcher", ["bf16", "fp16", "fp8", "no", None])
@pytest.mark.parametrize("chosen", [True, False])
def test_a_launcher_does_not_change_the_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str | None, chosen: bool
) -> None:
    if launcher is None:
        monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    else:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launcher)
    arguments = training_arguments(
        tmp_path,
        epochs=1,
        max_steps=1,
        batch_size=1,
        learning_rate=0.1,
        seed=0,
        device=torch.device("cpu"),
        bf16=chosen,
    )
    trainer = Trainer(Line(), arguments, train_dataset=[{"x": torch.ones(3), "y": torch.ones(())}])
    assert trainer.accelerator.mixed_precision == arguments.mixed_precision == ("bf16" if chosen else "no")


def test_deepspeed_does_not_change_the_precision_either() -> None:
    on, off = {"enabled": True}, {"enabled": False}
    _check_deepspeed({"bf16": on, "fp16": off}, "bf16")
    _check_deepspeed({"bf16": off, "fp16": off}, "no")
    with pytest.raises(InputError, match=r"sets bf16 to True; --dtype asks for float32.*auto"):
        _check_deepspeed({"bf16": on, "fp16": off}, "no")
    with pytest.raises(InputError, match=r"sets bf16 to False; --dtype asks for bfloat16"):
        _check_deepspeed({"bf16": off, "fp16": off}, "bf16")
    with pytest.raises(InputError, match=r"sets fp16 to True"):
        _check_deepspeed({"bf16": off, "fp16": on}, "no")


@pytest.mark.parametrize("steps", [1, 7, 24, 199, 200, 1234])
def test_planned_runs_save_in_step_with_logging(tmp_path: Path, steps: int) -> None:
    arguments = planned_arguments(
        tmp_path, steps, batch_size=4, learning_rate=0.1, seed=1, device=torch.device("cpu"), max_grad_norm=0.0
    )
    assert arguments.max_steps == steps and arguments.max_grad_norm == 0.0
    assert arguments.logging_steps == (1 if steps < 200 else 10)
    assert arguments.save_steps % arguments.logging_steps == 0
    assert steps // arguments.save_steps <= 20  # few saves in any run
