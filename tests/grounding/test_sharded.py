"""Launcher configurations that shard weights: what two processes, each with half of the layers, come to is one's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gti_cli.grounding.ground import ground
from tests.support.grounding import assert_same_curves, manifest_of
from tests.support.launch import launch, needs_fsdp_on_cpu

pytestmark = needs_fsdp_on_cpu

FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_SHARDING_STRATEGY": "SHARD_GRAD_OP"}
ZERO = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}
# 62 examples in batches of 15; the last one has 2, and a process may have no example of one direction.
OPTIONS: dict[str, Any] = {
    "directions": "both",
    "epochs": 2.0,
    "batch_size": 15,
    "learning_rate": 0.02,
    "held_out": 0.1,
    "eval_every": 2,
    "device": "cpu",
}


def assert_same_result(one: Path, two: Path) -> dict[str, torch.Tensor]:
    """The same curve, figures and weights to 1e-4; returns the weights of ``two``."""
    assert_same_curves(one, two)
    expected, found = manifest_of(one), manifest_of(two)
    assert found["counts"] == expected["counts"]
    for name, value in expected["metrics"].items():
        assert found["metrics"][name] == pytest.approx(value, abs=1e-4), name
    mine, theirs = (load_file(workspace / "grounded" / "model.safetensors") for workspace in (one, two))
    assert mine.keys() == theirs.keys() and all(torch.allclose(theirs[name], mine[name], atol=1e-4) for name in mine)
    return theirs


def assert_half(workspace: Path) -> None:
    """A process held half of the layers' weights and the whole of the rest."""
    run = manifest_of(workspace)["run"]
    written = load_file(workspace / "grounded" / "model.safetensors")
    everything = sum(weights.numel() for weights in written.values())
    in_layers = sum(weights.numel() for name, weights in written.items() if ".layers." in name or ".h." in name)
    assert in_layers and run["weights"] == everything
    assert run["weights_held"] == everything - in_layers // 2


def variables_of_accelerate(*how: str) -> dict[str, str]:
    """What ``accelerate launch`` with these options tells the processes that it starts."""
    from accelerate.commands import launch as command
    from accelerate.utils.launch import prepare_multi_gpu_env

    arguments, _, _ = command._validate_launch_command(command.launch_command_parser().parse_args([*how, "script.py"]))
    told = prepare_multi_gpu_env(arguments)
    return {name: value for name, value in told.items() if name.startswith(("ACCELERATE_", "FSDP_"))}


def test_accelerate_launch_with_fsdp(make_world: Any) -> None:
    one, two = make_world(name="one"), make_world(name="two")
    ground(one.workspace, **OPTIONS)
    variables = variables_of_accelerate("--use_fsdp", "--fsdp_version", "2", "--num_processes", "2")
    assert launch(two.workspace, OPTIONS, variables=variables) == [10, 10]
    assert_half(two.workspace)
    found = assert_same_result(one.workspace, two.workspace)
    start = load_file(two.workspace / "extended" / "model.safetensors")
    new = torch.tensor(two.tokens.ids)
    for name, before in start.items():
        after = found[name].clone()
        if name == "model.embed_tokens.weight":
            assert not torch.equal(after[new], before[new])
            after[new] = before[new]
        assert torch.equal(after, before), name  # every old weight to the bit


def test_zero_3_with_batches_smaller_than_the_number_of_processes(make_world: Any) -> None:
    options = {**OPTIONS, "batch_size": 1, "max_steps": 9, "gradient_checkpointing": True}
    one, two = (make_world(name=name, tied=False) for name in ("one", "two"))
    ground(one.workspace, **options)
    assert launch(two.workspace, options, variables=ZERO) == [9, 9]
    assert_same_result(one.workspace, two.workspace)
    assert_half(two.workspace)


def test_adapters_in_layers_that_are_divided(make_world: Any) -> None:
    # At the rate that nobody gave: it is worked out from the embedding matrix, which no process divides.
    options = {**OPTIONS, "max_steps": 4, "lora": True, "lora_dropout": 0.0, "learning_rate": None}
    one, two = make_world(name="one"), make_world(name="two")
    ground(one.workspace, **options)
    assert launch(two.workspace, options, variables=FSDP) == [4, 4]
    found = assert_same_result(one.workspace, two.workspace)
    start = load_file(two.workspace / "extended" / "model.safetensors")
    assert not torch.equal(*(w["model.layers.1.mlp.up_proj.weight"] for w in (start, found)))


def test_distillation_with_contexts_that_the_model_writes(make_words: Any) -> None:
    options = {"objective": "distil", "max_steps": 4, "learning_rate": 0.02, "held_out": 0.2, "device": "cpu"}
    one, two = make_words("gpt2", name="one"), make_words("gpt2", name="two")
    options |= {"pairs": str(one.pairs), "batch_size": 1, "distil_snippets": 1}
    ground(one.workspace, **options)
    assert launch(two.workspace, options, variables=FSDP) == [4, 4]
    assert_same_result(one.workspace, two.workspace)
    assert_half(two.workspace)
