"""Several tasks, or a behaviour prior and adapters, in two processes (gloo, CPU): the loss and the gradient of one."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from gti_cli.baselines import sasrec_tuning
from gti_cli.checkpoints.saving import PRIOR_FILE
from gti_cli.recommendation import train
from gti_cli.recommendation.examples import TaskExamples
from gti_cli.recommendation.finetune import finetune
from gti_cli.recommendation.job import FinetuneJob
from gti_cli.recommendation.parameters import prior
from gti_cli.training.batches.mixture import MixedPlan
from gti_cli.workspace.manifest import Manifest
from tests.support.baselines import QUICK
from tests.support.launch import free_port, preloaded_processes, variables_of_rank

FEW: dict[str, Any] = {"max_steps": 6, "learning_rate": 3e-3, "device": "cpu", "dtype": "float32"}


def _finetune(rank: int, port: int, interactions: Path, workspace: Path, options: dict[str, Any]) -> None:
    os.environ.update(variables_of_rank(rank, port))
    import torch

    torch.set_num_threads(1)
    if "prior" in options:
        vars(sasrec_tuning).update(QUICK)
        train._plan = partial(_half, rank)  # type: ignore[assignment]
        if rank > 0:
            prior.fit_prior = _not_called  # type: ignore[assignment]
    finetune(interactions, workspace, **options)


def _half(rank: int, job: FinetuneJob, examples: TaskExamples) -> MixedPlan:
    """Half of the examples of each step of a run in one process."""
    options = job.options
    how = {"size": options.batch_size, "epochs": options.epochs, "max_steps": options.max_steps, "seed": job.seed}
    plan = examples.plan(job.data.weights, **how)
    assert min(map(len, plan.steps)) > 1
    plan.steps = [numbers[rank::2] for numbers in plan.steps]
    return plan


def _not_called(*_: Any) -> None:
    raise AssertionError("the first process alone fits the prior")


def in_two_processes(world: Any, options: dict[str, Any]) -> tuple[Manifest, Path]:
    """The manifest of a run in one process, and the workspace of the same run in two, its steps divided into passes."""
    other = world.workspace.with_name("two")
    divided = {**options, "micro_batch": 7}
    shutil.copytree(world.workspace, other)
    one = finetune(world.interactions, world.workspace, **options)
    context, port = preloaded_processes(), free_port()
    started = [
        context.Process(target=_finetune, args=(rank, port, world.interactions, other, divided)) for rank in (0, 1)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(timeout=120)
    assert [process.exitcode for process in started] == [0, 0]
    return one, other


def test_two_processes_train_like_one(make_world: Any) -> None:
    """Everything in every batch: each of two processes then has one's whole step, and their mean is one's gradient."""
    options = {**FEW, "max_steps": 3, "tasks": ["search:1", "next-item:3"], "batch_size": 10_000}
    world = make_world()
    one, other = in_two_processes(world, {**options, "queries": str(world.queries)})
    two = json.loads((other / "finetuned" / "gti.json").read_text())
    assert two["run"]["micro_batch"] == {"targets": 7} and two["run"]["passes_per_step"] > 5
    assert one.run["passes_per_step"] == 1
    assert two["counts"]["steps"] == 3 and two["counts"]["targets_seen"] == 2 * one.counts["targets_seen"]
    assert two["metrics"]["tasks"]["search"]["targets_seen"] == 2 * 3 * 16
    for metric in ("train_loss", "valid_loss", "new_rows_moved"):
        assert two["metrics"][metric] == pytest.approx(one.metrics[metric], rel=1e-4)


def test_two_processes_learn_the_weights_of_a_prior_beside_adapters_like_one(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process trains on one half of every step: together they have the gradient of one."""
    for name, value in QUICK.items():
        monkeypatch.setattr(sasrec_tuning, name, value)
    options = {**FEW, "max_steps": 3, "batch_size": 50, "validations": 3, "lora": True, "lora_dropout": 0.0}
    world = make_world()
    one, other = in_two_processes(world, {**options, "prior": "item-knn+sasrec"})
    two = json.loads((other / "finetuned" / "gti.json").read_text())["metrics"]
    for metric in ("train_loss", "valid_loss", "new_rows_moved", "prior_weights"):
        assert two[metric] == pytest.approx(one.metrics[metric], rel=1e-4)
    assert all(abs(weight - 0.7) > 1e-3 for weight in two["prior_weights"])
    assert two["prior"] == one.metrics["prior"]
    # Both trained with what the first one fitted, which is what a single process fits.
    mine, theirs = (load_file(space / "finetuned" / PRIOR_FILE) for space in (world.workspace, other))
    assert all(name == "weights" or np.array_equal(mine[name], theirs[name]) for name in mine | theirs)
