"""Which launcher configurations shard a frozen model, and that accelerate then sees none of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from gti_cli.errors import InputError
from gti_cli.training.sharding import check_training, plain_launch, requested_sharding

FSDP, DEEPSPEED = {"ACCELERATE_USE_FSDP": "true"}, {"ACCELERATE_USE_DEEPSPEED": "true"}


@pytest.fixture(autouse=True)
def _launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("FSDP_", "ACCELERATE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WORLD_SIZE", "2")


@pytest.mark.parametrize(
    ("variables", "reshard"),
    [
        ({}, None),
        ({"ACCELERATE_USE_FSDP": "false"}, None),
        (FSDP, True),
        (FSDP | {"FSDP_SHARDING_STRATEGY": "FULL_SHARD"}, True),
        (FSDP | {"FSDP_SHARDING_STRATEGY": "2"}, False),
        (FSDP | {"FSDP_SHARDING_STRATEGY": "SHARD_GRAD_OP"}, False),
        (FSDP | {"FSDP_SHARDING_STRATEGY": "NO_SHARD"}, None),
        (FSDP | {"FSDP_SHARDING_STRATEGY": "HYBRID_SHARD"}, True),
        (FSDP | {"FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "true"}, True),
        (FSDP | {"FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "false"}, False),
        (DEEPSPEED, None),  # accelerate's default is stage 2
        (DEEPSPEED | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}, None),
        (DEEPSPEED | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, True),
    ],
)
def test_sharding_by_environment_variables(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], reshard: bool | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = requested_sharding()
    assert (None if found is None else found.reshard) == reshard
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert requested_sharding() is None


def test_the_file_of_deepspeed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "zero.json"
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(file))
    with pytest.raises(InputError, match=r"zero.json.*cannot be read"):
        requested_sharding()
    for content, wanted in (({"zero_optimization": {"stage": 3}}, True), ({"zero_optimization": {"stage": 1}}, False)):
        file.write_text(json.dumps(content))
        assert (requested_sharding() is not None) == wanted
    file.write_text(json.dumps({"zero_optimization": {"stage": "three"}}))
    with pytest.raises(InputError, match="stage is 'three'"):
        requested_sharding()


def test_unknown_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_SHARDING_STRATEGY", "SOME")
    with pytest.raises(InputError, match=r"'SOME'.*FULL_SHARD"):
        requested_sharding()


def test_accelerate_sees_plain_data_parallelism(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = FSDP | DEEPSPEED | {"FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(KeyError), plain_launch():
        assert not variables.keys() & os.environ.keys()
        raise KeyError
    assert {name: os.environ[name] for name in variables} == variables


def test_options_that_do_not_work_with_sharding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    check_training(gpu, {"--lora": True})
    for variables, message in (
        (FSDP, "FSDP 1 is not supported"),
        (FSDP | {"FSDP_VERSION": "2"}, "--lora does not go with FSDP"),
        (DEEPSPEED | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, "--lora does not go with DeepSpeed"),
    ):
        with monkeypatch.context() as here:
            for name, value in variables.items():
                here.setenv(name, value)
            with pytest.raises(InputError, match=message):
                check_training(gpu, {"--compile": False, "--lora": True})
            capsys.readouterr()
            check_training(cpu, {"--lora": True})
            assert "shards nothing on CPUs" in capsys.readouterr().err
            here.setenv("WORLD_SIZE", "1")
            check_training(gpu, {"--lora": True})
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    check_training(gpu, {"--lora": False})
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    check_training(gpu, {"--lora": False})
