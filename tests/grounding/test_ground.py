"""The stage: what it trains, what it leaves alone, what it reports, what it refuses, and that it can be interrupted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.grounding.ground import ground
from gti_cli.training.trainer import PlannedTrainer
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import digest_path

STEPS = {"max_steps": 24, "batch_size": 8, "learning_rate": 0.02, "directions": "both", "device": "cpu"}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("kind", "tied", "dtype"),
    [("qwen3", True, torch.float32), ("phi", False, torch.float32), ("llama", False, torch.bfloat16)],
)
def test_only_new_rows_change(make_world: Any, kind: str, tied: bool, dtype: Any) -> None:
    world = make_world(kind, tied=tied, dtype=dtype)
    manifest = ground(world.workspace, **STEPS)
    before, after = weights(world.workspace / "extended"), weights(world.workspace / "grounded")
    assert before.keys() == after.keys()
    new = torch.tensor(world.tokens.ids)
    changed = set()
    for name, weight in before.items():
        assert weight.dtype == after[name].dtype == dtype
        if torch.equal(weight, after[name]):
            continue
        changed.add(name)
        old = torch.ones(len(weight), dtype=torch.bool)
        old[new] = False
        assert torch.equal(weight[old], after[name][old]), name
        assert (weight[new] != after[name][new]).flatten(1).any(1).all() if weight.ndim > 1 else True
    expected = {"model.embed_tokens.weight"} | (set() if tied else {"lm_head.weight"})
    assert changed == expected | ({"lm_head.bias"} if kind == "phi" else set())
    metrics = manifest.metrics
    assert metrics["loss_to_tokens"] < metrics["loss_to_tokens_before"]
    assert metrics["rows_moved"] > 0 and ("output_rows_moved" in metrics) == (not tied)
    assert manifest.details["saved_dtype"] == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("option", ["learning_rate", "lora_learning_rate", "unfreeze_learning_rate"])
def test_a_training_that_diverges_ends_at_once(make_world: Any, option: str) -> None:
    """Before what is measured on the way meets rows that are no numbers."""
    world = make_world()
    more = {"lora_learning_rate": {"lora": True}, "unfreeze_learning_rate": {"unfreeze_steps": 4}}.get(option, {})
    with pytest.raises(InputError, match=f"diverged: .*ower .*--{option.replace('_', '-')}"):
        ground(world.workspace, **{**STEPS, "max_steps": 6, "eval_every": 1, **more, option: 1e38})


def test_manifest_and_plain_loading(make_world: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    world = make_world()
    manifest = ground(world.workspace, **STEPS)
    counts = manifest.counts
    assert (counts["pairs_title"], counts["pairs_description"], counts["pairs_both"]) == (12, 11, 11)
    assert counts["rows_without_description"] == 1 and counts["held_out_pairs"] == 2 and counts["train_pairs"] == 32
    assert counts["steps"] == 24 and counts["examples_seen"] == 24 * 8
    assert manifest.details["semantic_ids"] == "of-the-test" and manifest.details["model"] == "tiny"
    assert manifest.upstream.keys() == {"semantic_ids", "extended"}
    assert manifest.run["examples_per_second"] > 0
    model = AutoModelForCausalLM.from_pretrained(world.workspace / "grounded")
    tokenizer = AutoTokenizer.from_pretrained(world.workspace / "grounded")
    ids = tokenizer(world.items[3][2], add_special_tokens=False)["input_ids"]
    assert len(ids) == 2 and torch.isfinite(model(torch.tensor([ids])).logits).all()
    assert ground(world.workspace, **STEPS).digest == manifest.digest


@pytest.mark.parametrize("directions", ["to-tokens", "to-text"])
def test_one_direction_learns_it_and_measures_it(make_world: Any, directions: str) -> None:
    world = make_world()
    metrics = ground(world.workspace, **{**STEPS, "directions": directions}).metrics
    key = "loss_" + directions.replace("-", "_")
    assert metrics[key] < metrics[f"{key}_before"]
    assert {name for name in metrics if name.startswith("loss_")} == {key, f"{key}_before"}


def test_directions_and_rate_that_nobody_gave(make_world: Any) -> None:
    world = make_world()
    manifest = ground(world.workspace, max_steps=2, device="cpu")
    assert manifest.options["directions"] == "to-tokens" and "loss_to_text" not in manifest.metrics
    assert manifest.options["learning_rate"] == "auto"
    matrix = weights(world.workspace / "extended")["model.embed_tokens.weight"].double().numpy()
    old = np.delete(matrix, world.tokens.ids, axis=0)
    apart = [np.square(a - b).mean() for n, a in enumerate(old) for b in old[:n]]
    rate = manifest.metrics["learning_rate"]
    assert rate == pytest.approx(0.05 * np.sqrt(np.mean(apart)), rel=1e-5)
    told = ground(world.workspace, name="told", max_steps=2, device="cpu", directions="to-tokens", learning_rate=rate)
    assert told.outputs["told"] == manifest.outputs["grounded"] and "learning_rate" not in told.metrics


def test_same_seed_same_bytes_other_seed_others(make_world: Any) -> None:
    worlds = [make_world(name=f"w{n}") for n in range(3)]
    manifests = [ground(world.workspace, seed=int(n == 2), **STEPS) for n, world in enumerate(worlds)]
    outputs = [manifest.outputs["grounded"] for manifest in manifests]
    assert outputs[0] == outputs[1] != outputs[2]
    assert manifests[0].digest == manifests[1].digest


def test_resume_is_bit_identical(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = make_world(name="whole"), make_world(name="broken")
    expected = ground(whole.workspace, **STEPS)
    step, calls = PlannedTrainer.training_step, []

    def stop_at_15(self: Any, *args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == 15:
            raise KeyboardInterrupt
        return step(self, *args, **more)

    monkeypatch.setattr(PlannedTrainer, "training_step", stop_at_15)
    with pytest.raises(KeyboardInterrupt):
        ground(broken.workspace, **STEPS)
    assert not (broken.workspace / "grounded").exists()
    kept = list((broken.workspace / ".gti" / "staging" / "grounded" / "scratch").glob("checkpoint-*"))
    assert len(kept) == 1
    rows = 7 * 32 * 4  # new rows of the embedding, float32
    assert (kept[0] / "model.safetensors").stat().st_size < rows + 1000
    assert (kept[0] / "optimizer.pt").stat().st_size < 2 * rows + 5000
    manifest = ground(broken.workspace, **STEPS)
    assert len(calls) < 15 + 24  # it did go on, not start over
    assert manifest.outputs == expected.outputs and manifest.metrics == expected.metrics


def test_tokens_that_are_no_codes(make_world: Any, tmp_path: Path) -> None:
    world = make_world()
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(f'{{"text": "{title}", "tokens": "{tokens}"}}\n' for _, title, tokens in world.items))
    folder = tmp_path / "elsewhere"
    shutil.copytree(world.workspace / "extended", folder)
    (folder / "gti.json").unlink()
    columns = pq.read_table(folder / "new_tokens.parquet").to_pydict()
    columns["level"] = columns["code"] = [-1] * 7
    tables.write(folder / "new_tokens.parquet", columns)
    manifest = ground(tmp_path / "other", pairs=pairs, from_=str(folder), **{**STEPS, "directions": None})
    assert manifest.options["directions"] == "both"  # of words that are no codes
    assert manifest.counts["pairs_text"] == 12 and not manifest.upstream
    assert manifest.inputs.keys() == {"pairs", "checkpoint"}
    with pytest.raises(InputError, match="there are no items whose texts could be used"):
        ground(tmp_path / "third", from_=str(folder), **STEPS)


BAD = {
    "max steps": ({"max_steps": 0}, "--max-steps is 0"),
    "epochs": ({"epochs": float("inf")}, "--epochs is inf"),
    "batch": ({"batch_size": 0}, "--batch-size is 0"),
    "rate": ({"learning_rate": -1.0}, "--learning-rate is -1"),
    "held out": ({"held_out": 1.0}, "--held-out is 1"),
    "directions": ({"directions": "up"}, "--directions is 'up'"),
    "text tokens": ({"max_text_tokens": 0}, "--max-text-tokens is 0"),
    "name": ({"name": "../out"}, "cannot be used"),
    "reserved": ({"name": "extended"}, "cannot be used"),
    "pairs": ({"pairs": "nowhere.csv"}, "no such file"),
    "device": ({"device": "tpu"}, "unknown device"),
    "dtype": ({"dtype": "int8"}, "unknown dtype"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options(make_world: Any, case: str) -> None:
    options, message = BAD[case]
    world = make_world()
    before = digest_path(world.workspace)
    with pytest.raises(InputError, match=message):
        ground(world.workspace, **options)
    assert digest_path(world.workspace) == before


def test_everything_cannot_train_where_no_process_holds_everything(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    before = digest_path(world.workspace)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"--unfreeze-steps trains every weight.*under FSDP.*torchrun"):
        ground(world.workspace, unfreeze_steps=2, **STEPS)
    assert digest_path(world.workspace) == before


def test_refuses_its_own_source_and_edited_files(make_world: Any) -> None:
    world = make_world()
    ground(world.workspace, name="other", **STEPS)
    with pytest.raises(InputError, match="is the checkpoint to start from"):
        ground(world.workspace, from_="other", name="other", **STEPS)
    table = world.workspace / "extended" / "new_tokens.parquet"
    tables.write(table, {**pq.read_table(table).to_pydict(), "extra": np.zeros(7)})
    with pytest.raises(InputError, match="was changed after"):
        ground(world.workspace, **STEPS)


def test_other_semantic_ids(make_world: Any) -> None:
    world = make_world()
    names = ["semantic_ids.parquet", "items.parquet"]
    with Workspace(world.workspace).stage("build-ids", "semantic_ids", names, options={"n": 1}, force=True) as run:
        for name in names:
            shutil.copy(world.workspace / name, run.path(name))
        run.details.update({"sizes": [3, 4], "identity": "another"})
    with pytest.raises(InputError, match="other semantic IDs"):
        ground(world.workspace, **STEPS)


def test_own_wordings_reach_the_training(make_world: Any, tmp_path: Path) -> None:
    world = make_world()
    mine = tmp_path / "prompts.json"
    mine.write_text('{"system": "Shop.", "text->tokens": {"title": "{text}?"}}')
    ours = ground(world.workspace, **STEPS)
    theirs = ground(world.workspace, prompts=mine, **STEPS, name="other")
    assert theirs.metrics["loss_to_tokens_before"] != ours.metrics["loss_to_tokens_before"]
    assert "prompts" in theirs.inputs and "prompts" not in ours.inputs
    mine.write_text('{"text->tokens": {"title": "?"}}')
    with pytest.raises(InputError, match=r"must hold \{text\} once"):
        ground(world.workspace, prompts=mine, **STEPS, name="third")
    assert not (world.workspace / "third").exists()


def test_trackers_are_the_trainers_own(make_world: Any, monkeypatch: Any) -> None:
    from transformers import TrainerCallback
    from transformers.integrations import integration_utils

    said: list[Any] = []

    class Tracker(TrainerCallback):
        def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
            said.append(logs)

    world = make_world()
    plain = ground(world.workspace, name="plain", **STEPS)
    with pytest.raises(InputError, match="--report-to 'paper' is not known"):
        ground(world.workspace, name="b", report_to=("paper",), **STEPS)
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", Tracker)
    monkeypatch.setattr(integration_utils, "get_available_reporting_integrations", lambda: ["wandb"])
    found = ground(world.workspace, name="b", report_to=("wandb",), **STEPS)
    assert sum("loss" in entry for entry in said) == STEPS["max_steps"]
    assert found.metrics == plain.metrics and "report_to" not in found.options
