"""Learning rates of the new rows, and how far these can travel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from gti_cli.checkpoints.loading import load_model
from gti_cli.recommendation.finetune import finetune
from gti_cli.recommendation.options import FinetuneOptions
from gti_cli.recommendation.parameters.optimizer import row_matrices, with_rows_rate
from gti_cli.training.sharding import Sharding
from gti_cli.workspace.manifest import digest_path
from tests.support.models import make_model

FEW = {"max_steps": 6, "batch_size": 16, "learning_rate": 3e-3, "device": "cpu", "dtype": "float32"}


def rows(folder: Path) -> torch.Tensor:
    return load_model(str(folder), torch.device("cpu"), torch.float32).get_input_embeddings().weight.detach()


def test_faster_rows_move_further(make_world: Any) -> None:
    world = make_world()
    slow = finetune(world.interactions, world.workspace, name="slow", rows_learning_rate=3e-3, **FEW)
    fast = finetune(world.interactions, world.workspace, name="fast", rows_learning_rate=3e-2, **FEW)
    assert fast.metrics["new_rows_moved"] > 5 * slow.metrics["new_rows_moved"]
    assert fast.metrics["rows_travel_ratio"] == pytest.approx(10 * slow.metrics["rows_travel_ratio"])
    before = rows(world.workspace / "grounded")
    old = torch.ones(len(before), dtype=torch.bool)
    old[world.tokens.ids] = False
    step = [(rows(world.workspace / name) - before)[old].abs().max() for name in ("slow", "fast")]
    assert step[1] == pytest.approx(step[0], rel=0.5)


def test_without_a_rate_the_rows_get_one_that_fits_their_scale(make_world: Any) -> None:
    world = make_world()
    slow = {**FEW, "learning_rate": 1e-6}
    fitting = finetune(world.interactions, world.workspace, name="fitting", **slow)
    rate = fitting.metrics["rows_learning_rate"]
    assert rate == pytest.approx(0.05 * fitting.metrics["pretrained_rows_spread"]) and rate > 1e-4
    assert fitting.options["rows_learning_rate"] == "auto"
    finetune(world.interactions, world.workspace, name="given", rows_learning_rate=rate, **slow)
    assert digest_path(world.workspace / "fitting", "gti.json") == digest_path(world.workspace / "given", "gti.json")
    # Never below the rate of all else.
    fast = finetune(world.interactions, world.workspace, name="fast", **{**FEW, "learning_rate": 0.1})
    assert fast.metrics["rows_learning_rate"] == 0.1


def test_collapsed_rows_that_cannot_get_apart_are_warned_of(make_world: Any, capsys: Any) -> None:
    world = make_world(collapsed=True)
    finetune(world.interactions, world.workspace, **{**FEW, "learning_rate": 1e-4})
    said = capsys.readouterr().err
    assert "collapsed (effective rank 1.0)" in said and "--rows-learning-rate" in said
    finetune(world.interactions, world.workspace, name="fast", rows_learning_rate=0.3, **{**FEW, "learning_rate": 1e-4})
    assert "collapsed" not in capsys.readouterr().err


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_matrix_counts_once(tied: bool) -> None:
    model = make_model("llama", 50, tied=tied)
    matrices = row_matrices(model)
    assert matrices[0] is model.get_input_embeddings().weight and len(matrices) == (1 if tied else 2)
    assert matrices[-1] is model.get_output_embeddings().weight


def test_a_sharded_optimizer_has_one_rate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("gti_cli.training.sharding.requested_sharding", lambda: Sharding("FSDP"))
    job: Any = Job(FinetuneOptions(learning_rate=0.25))
    assert with_rows_rate(job, make_model("llama", 50)).options.rows_learning_rate == 0.25
    assert "only one" in capsys.readouterr().err
    given: Any = Job(FinetuneOptions(learning_rate=0.25, rows_learning_rate=0.5))
    assert with_rows_rate(given, make_model("llama", 50)).options.rows_learning_rate == 0.5


@dataclass(frozen=True)
class Job:
    """The part of a job that decides about the learning rate."""

    options: FinetuneOptions
