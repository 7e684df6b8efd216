"""Fine-tuning with weights that FSDP divides, which accelerate does on GPUs only: it is made to do it on this CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from gti_cli.recommendation.finetune import finetune
from tests.support.launch import needs_fsdp_on_cpu

pytestmark = needs_fsdp_on_cpu
ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

started = AcceleratorState.__init__

def start(self, *given, fsdp_plugin=None, **more):
    started(self, *given, fsdp_plugin=fsdp_plugin, **more)
    if fsdp_plugin is not None:
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin

AcceleratorState.__init__ = start
from torch.distributed.tensor import DTensor
from gti_cli.training import sharding

whole = sharding.gathered

def watched(model, path, device):
    held = sum(p.to_local().numel() for p in model.parameters() if isinstance(p, DTensor))
    sys.stdout.write(f"held {held} {sum(p.numel() for p in model.parameters())} \\n")
    return whole(model, path, device)

sharding.gathered = watched
from gti_cli.recommendation.finetune import finetune

finetune(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3]))
"""


def test_two_halves_come_to_what_one_process_comes_to(make_world: Any, tmp_path: Path) -> None:
    # Everything in every batch: each process has one's whole step, and their mean is one's gradient.
    options = {"max_steps": 3, "device": "cpu", "batch_size": 10_000, "learning_rate": 0.01, "dtype": "float32"}
    options["rows_learning_rate"] = options["learning_rate"]  # the one rate that a divided optimizer knows
    one, two = make_world(name="one"), make_world(name="two")
    expected = finetune(one.interactions, one.workspace, **options)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    how = ["--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *how, "--num_processes", "2"]
    done = subprocess.run(
        [
            *launcher,
            "--main_process_port",
            "0",
            str(script),
            str(two.interactions),
            str(two.workspace),
            json.dumps(options),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    held, everything = map(int, done.stdout.split("held ")[1].split()[:2])
    assert held == pytest.approx(everything / 2, rel=0.02)
    mine, theirs = (load_file(world.workspace / "finetuned" / "model.safetensors") for world in (one, two))
    assert mine.keys() == theirs.keys()
    for name, weights in mine.items():
        assert (weights - theirs[name]).abs().max() < 1e-4, name
    found = json.loads((two.workspace / "finetuned" / "gti.json").read_text())["metrics"]
    for name in ("train_loss", "valid_loss", "new_rows_moved"):
        assert found[name] == pytest.approx(expected.metrics[name], abs=1e-4)
