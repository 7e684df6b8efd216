"""Several tasks in two processes (gloo, CPU): the loss and the gradient of one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from gti_cli.recommendation.finetune import finetune
from tests.support.launch import free_port, preloaded_processes, variables_of_rank

FEW: dict[str, Any] = {"max_steps": 6, "learning_rate": 3e-3, "device": "cpu", "dtype": "float32"}


def _finetune(rank: int, port: int, interactions: Path, workspace: Path, options: dict[str, Any]) -> None:
    os.environ.update(variables_of_rank(rank, port))
    import torch

    torch.set_num_threads(1)
    finetune(interactions, workspace, **options)


def test_two_processes_train_like_one(make_world: Any) -> None:
    """Everything in every batch: each of two processes then has one's whole step, and their mean is one's gradient."""
    world = make_world()
    other = world.workspace.with_name("two")
    shutil.copytree(world.workspace, other)
    options = {**FEW, "max_steps": 3, "queries": str(world.queries), "tasks": ["search:1", "next-item:3"]}
    options["batch_size"] = 10_000
    one = finetune(world.interactions, world.workspace, **options)
    context, port = preloaded_processes(), free_port()
    started = [
        context.Process(target=_finetune, args=(rank, port, world.interactions, other, options)) for rank in (0, 1)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(timeout=120)
    assert [process.exitcode for process in started] == [0, 0]
    two = json.loads((other / "finetuned" / "gti.json").read_text())
    assert two["counts"]["steps"] == 3 and two["counts"]["targets_seen"] == 2 * one.counts["targets_seen"]
    assert two["metrics"]["tasks"]["search"]["targets_seen"] == 2 * 3 * 16
    for metric in ("train_loss", "valid_loss", "new_rows_moved"):
        assert two["metrics"][metric] == pytest.approx(one.metrics[metric], rel=1e-4)
