"""What fine-tuning trains, writes and resumes, on whole runs of the stage."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from transformers.integrations import integration_utils

from gti_cli.checkpoints.loading import load_model
from gti_cli.checkpoints.new_tokens import read_new_tokens
from gti_cli.errors import InputError
from gti_cli.recommendation.finetune import finetune
from gti_cli.workspace.manifest import digest_path

FEW: dict[str, Any] = {"max_steps": 6, "batch_size": 16, "learning_rate": 3e-3, "device": "cpu", "dtype": "float32"}


def weights(folder: Path, dtype: Any = torch.float32) -> dict[str, torch.Tensor]:
    return dict(load_model(str(folder), torch.device("cpu"), dtype).named_parameters())


def rows(folder: Path) -> torch.Tensor:
    return load_model(str(folder), torch.device("cpu"), torch.float32).get_input_embeddings().weight.detach()


@pytest.mark.parametrize(("kind", "tied"), [("qwen3", True), ("llama", False)])
@pytest.mark.parametrize("lora", [False, True])
def test_trains_and_writes_a_plain_checkpoint(make_world: Any, kind: str, tied: bool, lora: bool) -> None:
    world = make_world(kind, tied=tied)
    manifest = finetune(world.interactions, world.workspace, lora=lora, **{**FEW, "max_steps": 15})
    folder = world.workspace / "finetuned"
    assert manifest.metrics["valid_loss"] < manifest.metrics["valid_loss_before"]
    assert manifest.details["model"] == "tiny"
    assert manifest.details["semantic_ids"] == "ids-of-the-test"
    assert manifest.details["new_tokens_sha256"] == world.tokens.digest == read_new_tokens(folder).digest
    assert manifest.counts["train_targets"] == sum(len(h) - 3 for h in world.histories.values())
    assert manifest.run["targets_per_second"] > 0
    names = {file.name for file in folder.iterdir()}
    assert "model.safetensors" in names and not any("adapter" in name for name in names)

    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == model.get_input_embeddings().weight.shape[0]
    before, after = rows(world.workspace / "grounded"), model.get_input_embeddings().weight.detach()
    changed = (before != after).any(dim=1)
    assert changed[world.tokens.ids].all()
    old = torch.ones(len(before), dtype=torch.bool)
    old[world.tokens.ids] = False
    # Adapters leave pretrained rows as they are, bit for bit; tuning in full trains them too.
    assert changed[old].any() == (not lora)
    moved = (after - before)[world.tokens.ids].square().mean().sqrt()
    assert manifest.metrics["new_rows_moved"] == pytest.approx(float(moved), rel=1e-5)
    if not tied:
        head_before = weights(world.workspace / "grounded")["lm_head.weight"]
        head = model.get_output_embeddings().weight
        assert ((head_before != head).any(dim=1)[old].any()) == (not lora)
        assert (head_before != head).any(dim=1)[world.tokens.ids].all()


@pytest.mark.parametrize("lora", [False, True])
def test_resumed_run_equals_an_unbroken_one(make_world: Any, resumed: Any, lora: bool) -> None:
    world = make_world()
    other = world.workspace.with_name("unbroken")
    shutil.copytree(world.workspace, other)
    options = {**FEW, "max_steps": 20, "lora": lora, "rows_learning_rate": 1e-2, "validations": 5}
    options |= {"lora_dropout": 0.2} if lora else {}
    whole = finetune(world.interactions, other, **options)
    result = world.workspace / "finetuned"
    found = resumed(lambda: finetune(world.interactions, world.workspace, **options), result)
    assert digest_path(result, skip="gti.json") == digest_path(other / "finetuned", "gti.json")
    assert found.metrics == whole.metrics
    assert found.digest == whole.digest


def test_same_seed_same_bytes_and_nothing_to_do_twice(make_world: Any, capsys: Any) -> None:
    world = make_world()
    one = finetune(world.interactions, world.workspace, name="one", **FEW)
    picture = world.workspace / "two_training.png"  # of a checkpoint that the run replaces
    picture.touch()
    two = finetune(world.interactions, world.workspace, name="two", **FEW)
    assert not picture.exists()
    assert digest_path(world.workspace / "one", "gti.json") == digest_path(world.workspace / "two", "gti.json")
    assert one.metrics == two.metrics
    other = finetune(world.interactions, world.workspace, name="three", seed=1, **FEW)
    assert other.metrics["train_loss"] != one.metrics["train_loss"]
    capsys.readouterr()
    assert finetune(world.interactions, world.workspace, name="one", **FEW) == one
    assert "up to date" in capsys.readouterr().err


def test_is_saved_in_the_number_format_of_its_source(make_world: Any) -> None:
    from safetensors import safe_open

    world = make_world(dtype=torch.float16)
    manifest = finetune(world.interactions, world.workspace, **FEW)
    with safe_open(world.workspace / "finetuned" / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    assert manifest.details["saved_dtype"] == "float16"


def test_last_targets_only(make_world: Any) -> None:
    world = make_world()
    manifest = finetune(world.interactions, world.workspace, targets="last", history=2, **FEW)
    lengths = [len(h) - 2 for h in world.histories.values()]
    assert manifest.counts["train_targets"] == sum(n >= 2 for n in lengths)
    assert manifest.counts["cut_targets"] == sum(n > 3 for n in lengths)


def test_a_training_that_diverges_ends_at_once(make_world: Any, capsys: Any) -> None:
    world = make_world()
    with pytest.raises(InputError, match=r"diverged: .* Lower --learning-rate or --rows-learning-rate"):
        finetune(world.interactions, world.workspace, **{**FEW, "max_steps": 50, "learning_rate": 1e38})
    assert "Fine-tuning: 50/50" not in capsys.readouterr().err


def fake_tracker(monkeypatch: Any) -> list[Any]:
    """Stands for wandb; keeps the folder that logs go to, and then what is logged."""
    said: list[Any] = []

    class Tracker(TrainerCallback):
        def __init__(self) -> None:
            said.append(os.environ["TENSORBOARD_LOGGING_DIR"])

        def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
            said.append(logs)

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", Tracker)
    monkeypatch.setattr(integration_utils, "get_available_reporting_integrations", lambda: ["wandb", "tensorboard"])
    return said


def test_trackers_are_the_trainers_own(make_world: Any, monkeypatch: Any) -> None:
    world = make_world()
    plain = finetune(world.interactions, world.workspace, **FEW)
    with pytest.raises(InputError, match="--report-to 'paper' is not known"):
        finetune(world.interactions, world.workspace, name="b", report_to=("paper",), **FEW)
    said = fake_tracker(monkeypatch)
    manifest = finetune(world.interactions, world.workspace, name="b", report_to=("wandb",), **FEW)
    assert said[0] == str(world.workspace / "runs" / "b") and len(said) == 1 + 6 + 1  # each step, and the run's rates
    assert all("loss" in entry for entry in said[1:7])
    assert manifest.metrics == plain.metrics and "report_to" not in manifest.options
    pytest.importorskip("tensorboard")
    monkeypatch.undo()
    finetune(world.interactions, world.workspace, name="c", report_to=("tensorboard",), **FEW)
    assert list((world.workspace / "runs" / "c").glob("events.*"))


def test_bfloat16_trains_like_float32(make_world: Any) -> None:
    world = make_world()
    full, half = (
        finetune(world.interactions, world.workspace, name=dtype, **{**FEW, "max_steps": 15, "dtype": dtype})
        for dtype in ("float32", "bfloat16")
    )
    for metric in ("train_loss", "valid_loss", "new_rows_moved"):
        assert half.metrics[metric] == pytest.approx(full.metrics[metric], rel=0.03)
    assert half.metrics["train_loss"] != full.metrics["train_loss"]


@pytest.mark.parametrize("lora", [False, True])
def test_gradient_checkpointing_changes_no_result(make_world: Any, lora: bool) -> None:
    world = make_world()
    options = {**FEW, "max_steps": 2, "lora": lora, **({"lora_dropout": 0.0} if lora else {})}
    plain = finetune(world.interactions, world.workspace, name="plain", **options)
    less = finetune(world.interactions, world.workspace, name="less", gradient_checkpointing=True, **options)
    assert less.metrics["valid_loss"] == pytest.approx(plain.metrics["valid_loss"], rel=1e-5)
    assert less.metrics["new_rows_moved"] == pytest.approx(plain.metrics["new_rows_moved"], rel=1e-3)


def test_examples_in_a_file_give_the_bytes_of_those_in_memory(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world()
    options: dict[str, Any] = {**FEW, "queries": world.queries, "tasks": ["next-item", "search", "lc-rec"]}
    options["max_steps"] = 3
    memory = finetune(world.interactions, world.workspace, name="memory", **options)
    monkeypatch.setattr("gti_cli.training.batches.stored_examples.SHARE_OF_MEMORY", 0.0)
    monkeypatch.setattr("gti_cli.training.batches.stored_examples.PART", 7)
    file = finetune(world.interactions, world.workspace, name="file", **options)
    names = ("next-item", "search", "lc-rec")
    assert memory.run["examples_kept_in"] == dict.fromkeys(names, "memory")
    assert file.run["examples_kept_in"] == {**dict.fromkeys(names, "memory-mapped Arrow"), "next-item": "memory"}
    assert list(memory.outputs.values()) == list(file.outputs.values())
    assert memory.metrics == file.metrics and memory.counts == file.counts
    assert not list(world.workspace.rglob("*.arrow"))
