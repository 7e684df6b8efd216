"""Quantized checkpoints are refused in one line, by every command that reads weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gti_cli.app import run
from gti_cli.checkpoints.finding import find_checkpoint
from gti_cli.checkpoints.quantized import check_folder
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
from tests.support.vocabulary import write_semantic_ids

LAYER = "model.layers.0.mlp.down_proj"


def configure(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def add(folder: Path, **tensors: torch.Tensor) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, **tensors}, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("fields", "method"),
    [
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}, "fp8"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "mxfp4"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ({"quantization_config": {"quant_method": "awq"}}, "awq"),
        ({"quantization_config": {"load_in_8bit": True}}, "bitsandbytes"),
        ({"text_config": {"quantization_config": {"quant_method": "torchao"}}}, "torchao"),
        ({"compression_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "mlx"),
        ({"quantization_config": {}}, "unknown"),
    ],
)
def test_the_configuration_says_so(fields: dict[str, Any], method: str, make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint()
    configure(folder, **fields)
    with pytest.raises(InputError) as caught:
        check_folder(folder)
    line = str(caught.value)
    assert f"{folder}: this checkpoint is quantized (quant_method {method}). Give the model before quantization" in line
    # These weights are plain after all, so the line also says how to correct the configuration.
    assert "delete quantization_config" in line


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        (f"{LAYER}.weight_scale_inv", torch.ones(1, 1)),
        (f"{LAYER}.qweight", torch.ones(2, 2, dtype=torch.int32)),
        (f"{LAYER}.qzeros", torch.ones(2, 2, dtype=torch.int32)),
        (f"{LAYER}.weight_packed", torch.ones(2, 2, dtype=torch.int32)),
        (f"{LAYER}.SCB", torch.ones(2)),
        (f"{LAYER}.weight.quant_state.bitsandbytes__nf4", torch.ones(2, dtype=torch.uint8)),
        (f"{LAYER}.weight", torch.ones(32, 64, dtype=torch.int8)),
        (f"{LAYER}.weight", torch.ones(32, 64).to(torch.float8_e4m3fn)),
    ],
)
def test_the_tensors_say_so(name: str, tensor: torch.Tensor, make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint()
    check_folder(folder)
    add(folder, **{name: tensor})
    with pytest.raises(InputError) as caught:
        check_folder(folder)
    assert f"is quantized: it holds the tensor '{name}'" in str(caught.value)


def test_blocks_with_scales_are_mxfp4_and_neither_is_alone(make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint()
    add(folder, gate_up_proj_blocks=torch.ones(2, 2, dtype=torch.uint8))
    check_folder(folder)
    add(folder, gate_up_proj_scales=torch.ones(2, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"'gate_up_proj_blocks' \(U8\)"):
        check_folder(folder)


def test_counters_and_masks_are_no_quantized_weights(make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint()
    add(folder, **{"steps.weight": torch.arange(4), "attn.mask": torch.ones(3, 3, dtype=torch.bool)})
    configure(folder, quantization_config=None)
    check_folder(folder)


@pytest.mark.parametrize(
    "command",
    [
        ["extend", "--model"],
        ["ground", "--from"],
        ["finetune", "--interactions", "none.csv", "--from"],
        ["evaluate", "--interactions", "none.csv"],
        ["recommend", "--query", "coat"],
        ["diagnose"],
    ],
)
@pytest.mark.parametrize("by", ["config", "tensors"])
def test_every_command_that_reads_weights_refuses(
    command: list[str], by: str, make_checkpoint: Callable[..., Path], tmp_path: Path, capsys: Any
) -> None:
    space = Workspace(tmp_path / "w")
    write_semantic_ids(space, np.array([[0, 0], [1, 1]]), [2, 2])
    folder = make_checkpoint()
    if by == "config":
        configure(folder, quantization_config={"quant_method": "gptq"})
    else:
        add(folder, **{f"{LAYER}.qweight": torch.ones(2, 2, dtype=torch.int32)})
    before = sorted(space.root.rglob("*"))
    assert run([*command, str(folder), "--workspace", str(space.root)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    named = " (quant_method gptq)" if by == "config" else f": it holds the tensor '{LAYER}.qweight' (I32)"
    assert f"this checkpoint is quantized{named}" in said and "Traceback" not in said
    assert [path for path in sorted(space.root.rglob("*")) if ".gti" not in path.parts] == [
        path for path in before if ".gti" not in path.parts
    ]


def test_a_tokenizer_of_a_quantized_checkpoint_is_as_good(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_checkpoint()
    configure(folder, quantization_config={"quant_method": "awq"})
    space = Workspace(tmp_path / "w")
    found = find_checkpoint(space, str(folder), "extended", "gti extend", weights=False)
    assert found.path == str(folder)


def test_a_model_of_the_hub_is_refused_by_its_configuration(
    make_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_checkpoint()
    configure(folder, quantization_config={"quant_method": "fp8"})
    monkeypatch.setattr("transformers.utils.hub.cached_file", lambda *_: str(folder / "config.json"))
    with pytest.raises(InputError, match=r"some/lm: this checkpoint is quantized \(quant_method fp8\)"):
        find_checkpoint(Workspace(tmp_path / "w"), "some/lm", "extended", "gti extend")
