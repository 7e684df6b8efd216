"""Several tasks in two processes (gloo, CPU): the loss and the gradient of one."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gti_cli.recommendation.finetune import finetune

FEW: dict[str, Any] = {"max_steps": 6, "learning_rate": 3e-3, "device": "cpu", "dtype": "float32"}

SCRIPT = """
import json, sys
from gti_cli.recommendation.finetune import finetune
options = json.loads(sys.argv[2])
finetune(options.pop("interactions"), sys.argv[1], **options)
"""


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port: int = free.getsockname()[1]
        return port


def _launched(rank: int, port: int) -> dict[str, str]:
    """What torchrun tells a process."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    return {"MASTER_ADDR": "localhost"} | {name: str(value) for name, value in own.items()}


def test_two_processes_train_like_one(make_world: Any) -> None:
    """Everything in every batch: each of two processes then has one's whole step, and their mean is one's gradient."""
    world = make_world()
    other = world.workspace.with_name("two")
    shutil.copytree(world.workspace, other)
    options = {**FEW, "max_steps": 3, "queries": str(world.queries), "tasks": ["search:1", "next-item:3"]}
    options["batch_size"] = 10_000
    one = finetune(world.interactions, world.workspace, **options)
    script = Path(other).parent / "script.py"
    script.write_text(SCRIPT)
    given = json.dumps({**options, "interactions": str(world.interactions)})
    started = [
        subprocess.Popen(
            [sys.executable, str(script), str(other), given],
            env={**os.environ, **_launched(rank, port), "PYTHONPATH": str(Path(__file__).parents[2])},
            stderr=subprocess.PIPE,
            text=True,
        )
        for port in [_free_port()]
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said[0][-3000:]
    two = json.loads((other / "finetuned" / "gti.json").read_text())
    assert two["counts"]["steps"] == 3 and two["counts"]["targets_seen"] == 2 * one.counts["targets_seen"]
    assert two["metrics"]["tasks"]["search"]["targets_seen"] == 2 * 3 * 16
    for metric in ("train_loss", "valid_loss", "new_rows_moved"):
        assert two["metrics"][metric] == pytest.approx(one.metrics[metric], rel=1e-4)
