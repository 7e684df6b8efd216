"""The planned Trainer: its batches, its mean loss over unequal batches, and resuming, against a plain loop."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainerCallback

from gti_cli.training.arguments import last_checkpoint, training_arguments
from gti_cli.training.trainer import ExampleNumbers, PlannedTrainer, last_tenth_loss, module_loss

RATE = 0.05
X = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
Y = torch.randn(7, generator=torch.Generator().manual_seed(1))
PLAN = [[0, 1, 2], [6], [3, 4], [2, 5, 0, 1], [6, 3], [4]]


class Line(torch.nn.Module):
    """Squared errors of a linear model, summed, and their number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return ((x @ self.weight - y) ** 2).sum(), torch.tensor(len(y))


class Interrupt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self._step:
            raise KeyboardInterrupt


def make_trainer(scratch: Path, seen: list[list[int]], callbacks: Sequence[TrainerCallback] = ()) -> PlannedTrainer:
    def collate(numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        seen.append(list(numbers))
        return {"x": X[list(numbers)], "y": Y[list(numbers)]}

    device = torch.device("cpu")
    arguments = training_arguments(
        scratch,
        epochs=1,
        max_steps=len(PLAN),
        batch_size=99,
        learning_rate=RATE,
        seed=0,
        device=device,
        save_steps=1,
        lr_scheduler_type="constant",
        warmup_ratio=0.0,
        max_grad_norm=0.0,
    )
    model = Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    trainer = PlannedTrainer(model, arguments, collate, PLAN, len(X), optimizer)  # type: ignore[arg-type]
    for callback in callbacks:
        trainer.add_callback(callback)
    return trainer


def by_hand() -> torch.Tensor:
    weight = torch.zeros(3, requires_grad=True)
    for batch in PLAN:
        loss = torch.stack([(X[n] @ weight - Y[n]) ** 2 for n in batch]).mean()
        (gradient,) = torch.autograd.grad(loss, weight)
        weight = (weight - RATE * gradient).detach().requires_grad_()
    return weight.detach()


def test_trains_on_the_planned_batches_by_their_mean_loss(tmp_path: Path) -> None:
    seen: list[list[int]] = []
    trainer = make_trainer(tmp_path, seen)
    trainer.train()
    assert seen == PLAN
    torch.testing.assert_close(trainer.model.weight.detach(), by_hand())


def test_a_resumed_run_skips_exactly_the_batches_that_were_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, [], [Interrupt(4)]).train()
    trainer = make_trainer(tmp_path, [])
    trained: list[int] = []
    step = trainer.training_step
    trainer.training_step = lambda model, inputs, *more: (trained.append(len(inputs["y"])), step(model, inputs, *more))[
        1
    ]
    trainer.train(resume_from_checkpoint=last_checkpoint(tmp_path))
    assert trained == [len(batch) for batch in PLAN[3:]]  # the fourth step was interrupted before it was saved
    torch.testing.assert_close(trainer.model.weight.detach(), by_hand())


def test_passes_of_a_batch_train_as_the_batch_does(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [])
    whole = trainer.data_collator

    def parts(numbers: Sequence[int]) -> dict[str, Any]:
        """One number in a pass; a batch of one number as it is."""
        one_by_one = [whole([number]) for number in numbers]
        terms = torch.tensor(len(numbers))
        return whole(numbers) if len(numbers) == 1 else {"passes": one_by_one, "terms": terms}

    trainer.data_collator = parts
    trainer.train()
    torch.testing.assert_close(trainer.model.weight.detach(), by_hand())
    assert trainer.passes == sum(map(len, PLAN))
    expected = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    other = make_trainer(tmp_path / "whole", [])
    other.train()
    assert expected == pytest.approx([entry["loss"] for entry in other.state.log_history if "loss" in entry])
    assert other.passes == len(PLAN)


def test_passes_of_several_processes_meet_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terms of a step are summed over the processes before its passes, and gradients with its last one."""
    trainer = make_trainer(tmp_path, [])
    monkeypatch.setattr(type(trainer.args), "world_size", 2)
    calls: list[str] = []
    monkeypatch.setattr(trainer.accelerator, "reduce", lambda count, reduction: (calls.append("sum"), count + 5)[1])
    monkeypatch.setattr(trainer.accelerator, "no_sync", lambda model: (calls.append("alone"), nullcontext())[1])
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1  # as the Trainer's loop sets it
    batches = [{"x": X[:1], "y": Y[:1]}, {"x": X[1:2], "y": Y[1:2]}, {"x": X[2:3], "y": Y[2:3]}]
    loss = trainer.training_step(trainer.model, {"passes": batches, "terms": torch.tensor(3)})
    assert calls == ["sum", "alone", "alone"]
    torch.testing.assert_close(loss, (Y[:3] ** 2).sum() / 4)
    torch.testing.assert_close(trainer.model.weight.grad, -2 * (Y[:3, None] * X[:3]).sum(0) / 4)


def test_several_processes_weigh_terms_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients are averaged over processes, so each divides by the mean number of terms: here of 3 and 5."""
    trainer = make_trainer(tmp_path, [])
    batch = {"x": X[:3], "y": Y[:3]}
    summed, count = module_loss(trainer.model, batch)
    assert int(count) == 3
    torch.testing.assert_close(trainer.compute_loss(trainer.model, batch), summed / 3)
    monkeypatch.setattr(type(trainer.args), "world_size", 2)
    monkeypatch.setattr(trainer.accelerator, "reduce", lambda count, reduction: count + 5)
    torch.testing.assert_close(trainer.compute_loss(trainer.model, batch), summed / 4)
    assert trainer.compute_loss(trainer.model, batch, return_outputs=True)[1] is None


def test_the_dataset_holds_numbers_only() -> None:
    numbers = ExampleNumbers(4)
    assert [numbers[n] for n in range(len(numbers))] == [0, 1, 2, 3]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=50))
def test_the_last_tenth_loss_is_the_mean_of_the_last_tenth(losses: list[float]) -> None:
    log: list[dict[str, float]] = [{"step": n, "loss": loss} for n, loss in enumerate(losses)]
    last = losses[len(losses) - max(1, len(losses) // 10) :]
    assert last_tenth_loss([*log, {"step": 99, "train_loss": -1.0}]) == pytest.approx(float(np.mean(last)))
