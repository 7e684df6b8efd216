"""Several tasks in two processes (gloo, CPU): the loss and the gradient of one."""

from __future__ import annotations

import json
import os
import shutil
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
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        [*command, str(other), json.dumps({**options, "interactions": str(world.interactions)})],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    two = json.loads((other / "finetuned" / "gti.json").read_text())
    assert two["counts"]["steps"] == 3 and two["counts"]["targets_seen"] == 2 * one.counts["targets_seen"]
    assert two["metrics"]["tasks"]["search"]["targets_seen"] == 2 * 3 * 16
    for metric in ("train_loss", "valid_loss", "new_rows_moved"):
        assert two["metrics"][metric] == pytest.approx(one.metrics[metric], rel=1e-4)
