"""Fine-tuning under DeepSpeed's engine, which accelerate uses on GPUs only: it is made to do it on this CPU."""

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

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from deepspeed import comm

started = AcceleratorState.__init__

def start(self, *given, deepspeed_plugin=None, **more):
    fresh = not AcceleratorState._shared_state
    started(self, *given, deepspeed_plugin=deepspeed_plugin, **more)
    if deepspeed_plugin is not None and fresh:
        comm.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
        self.distributed_type, self.deepspeed_plugins = DistributedType.DEEPSPEED, deepspeed_plugin
        deepspeed_plugin.set_mixed_precision("no")
        deepspeed_plugin.select(_from_accelerator_state=True)

AcceleratorState.__init__ = start
from gti_cli.training import sharding

whole = sharding.gathered

def watched(model, path, device):
    parameters = list(model.parameters())
    sys.stdout.write(f"held {sum(p.numel() for p in parameters)} {sum(hasattr(p, 'ds_id') for p in parameters)} \\n")
    return whole(model, path, device)

sharding.gathered = watched
from gti_cli.recommendation.finetune import finetune

finetune(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3]))
"""


@pytest.mark.parametrize("stage", [2, 3])
def test_two_parts_come_to_what_one_process_comes_to(make_world: Any, tmp_path: Path, stage: int) -> None:
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")
    # Everything in every batch: each process has one's whole step, and their mean is one's gradient.
    options = {"max_steps": 3, "device": "cpu", "batch_size": 10_000, "learning_rate": 0.01, "dtype": "float32"}
    options["rows_learning_rate"] = options["learning_rate"]  # the one rate that a divided optimizer knows
    one, two = make_world(name="one"), make_world(name="two")
    finetune(one.interactions, one.workspace, **options)
    script, config = tmp_path / "script.py", tmp_path / "zero.json"
    script.write_text(SCRIPT)
    own = {
        "stage": stage,
        **({"stage3_param_persistence_threshold": 0} if stage == 3 else {}),
    }  # shard small ones, too
    auto = ("train_micro_batch_size_per_gpu", "train_batch_size", "gradient_accumulation_steps", "gradient_clipping")
    config.write_text(json.dumps({"zero_optimization": own, **dict.fromkeys(auto, "auto")}))
    how = ["--use_deepspeed", "--deepspeed_config_file", str(config), "--zero3_init_flag", "true"]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *how, "--num_machines", "1", "--num_processes", "2"]
    arguments = [str(script), str(two.interactions), str(two.workspace), json.dumps(options)]
    done = subprocess.run(
        [*launcher, "--main_process_port", "0", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    held, divided = map(int, done.stdout.split("held ")[1].split()[:2])
    assert (held == 0 and divided > 0) if stage == 3 else (held > 0 and divided == 0)
    mine, theirs = (load_file(world.workspace / "finetuned" / "model.safetensors") for world in (one, two))
    assert mine.keys() == theirs.keys()
    for name, weights in mine.items():
        assert (weights - theirs[name]).abs().max() < 1e-5, name
