"""A training that diverges ends where it does, not at the end of the run."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerCallback

from gti_cli.errors import InputError
from gti_cli.training.arguments import training_arguments
from gti_cli.training.callbacks.divergence import end_if_diverged


class Spoilt(torch.nn.Module):
    """A weight whose loss is ``loss``, and whose gradient is ``slope``, from the ``start``-th step on."""

    def __init__(self, start: int, loss: float, slope: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))
        self.still = torch.nn.Parameter(torch.full((2,), float("nan")), requires_grad=False)
        self.unused = torch.nn.Parameter(torch.full((2,), float("nan")))
        self._calls, self._start, self._loss, self._slope = itertools.count(1), start, loss, slope

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        spoilt = next(self._calls) >= self._start
        loss = (self.weight * x).sum()
        if spoilt:
            self.weight.register_hook(lambda gradient: gradient * self._slope)
        return {"loss": loss + (self._loss if spoilt else 0.0)}


class Measuring(TrainerCallback):
    """A callback that cannot measure weights that are no numbers."""

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        assert torch.isfinite(model.weight).all()


def train(folder: Path, model: torch.nn.Module, steps: int, looked_at: list[int]) -> Trainer:
    cpu = torch.device("cpu")
    arguments = training_arguments(
        folder, epochs=1, max_steps=steps, batch_size=1, learning_rate=0.1, seed=0, device=cpu, logging_steps=2
    )
    trainer = Trainer(model, arguments, train_dataset=[{"x": torch.ones(2)}] * 20)
    end_if_diverged(trainer, "--rate", looked_at)
    trainer.add_callback(Measuring())
    trainer.train()
    return trainer


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number(tmp_path: Path, loss: float) -> None:
    model = Spoilt(5, loss, 1.0)
    with pytest.raises(InputError, match=r"diverged: the loss is \S+ at step 6\. Lower --rate"):
        train(tmp_path, model, 20, [])
    assert next(model._calls) == 7  # no further step


@pytest.mark.parametrize(("steps", "looked_at"), [(3, []), (20, [3])])
def test_weights_that_are_no_numbers_under_a_finite_loss(tmp_path: Path, steps: int, looked_at: list[int]) -> None:
    with pytest.raises(InputError, match=r"weights are NaN or infinite after step 3\. Lower --rate"):
        train(tmp_path, Spoilt(3, 0.0, float("nan")), steps, looked_at)


def test_a_sound_training_goes_on(tmp_path: Path) -> None:
    """Weights that do not train, or were no numbers from the start, are no divergence."""
    assert train(tmp_path, Spoilt(99, 0.0, 1.0), 6, [2]).state.global_step == 6
