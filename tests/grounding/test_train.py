"""The training: which weights change, that it can be interrupted, and what it reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from gti_cli.errors import InputError
from gti_cli.grounding.ground import ground
from gti_cli.training.trainer import PlannedTrainer
from tests.support.grounding import interrupt

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
    pretrained = np.delete(before["model.embed_tokens.weight"].double().numpy(), world.tokens.ids, axis=0)
    differences = (pretrained[:, None] - pretrained[None])[~np.eye(len(pretrained), dtype=bool)]
    assert metrics["pretrained_rows_spread"] == pytest.approx(np.sqrt((differences**2).mean()), rel=1e-3)
    assert manifest.details["saved_dtype"] == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("option", ["learning_rate", "lora_learning_rate", "unfreeze_learning_rate"])
def test_a_training_that_diverges_ends_at_once(make_world: Any, option: str) -> None:
    """It ends before an evaluation measures rows that hold NaN."""
    world = make_world()
    more = {"lora_learning_rate": {"lora": True}, "unfreeze_learning_rate": {"unfreeze_steps": 4}}.get(option, {})
    with pytest.raises(InputError, match=f"diverged: .*ower .*--{option.replace('_', '-')}"):
        ground(world.workspace, **{**STEPS, "max_steps": 6, "eval_every": 1, **more, option: 1e38})


@pytest.mark.parametrize("directions", ["to-tokens", "to-text"])
def test_one_direction_learns_it_and_measures_it(make_world: Any, directions: str) -> None:
    world = make_world()
    metrics = ground(world.workspace, **{**STEPS, "directions": directions}).metrics
    key = "loss_" + directions.replace("-", "_")
    assert metrics[key] < metrics[f"{key}_before"]
    assert {name for name in metrics if name.startswith("loss_")} == {key, f"{key}_before"}


def test_default_directions_and_learning_rate(make_world: Any) -> None:
    world = make_world()
    manifest = ground(world.workspace, max_steps=2, device="cpu")
    assert manifest.options["directions"] == "to-tokens" and "loss_to_text" not in manifest.metrics
    assert manifest.options["learning_rate"] == "auto"
    matrix = weights(world.workspace / "extended")["model.embed_tokens.weight"].double().numpy()
    old = np.delete(matrix, world.tokens.ids, axis=0)
    apart = [np.square(a - b).mean() for n, a in enumerate(old) for b in old[:n]]
    rate = manifest.metrics["learning_rate"]
    assert rate == pytest.approx(0.05 * np.sqrt(np.mean(apart)), rel=1e-5)
    explicit = ground(
        world.workspace, name="same", max_steps=2, device="cpu", directions="to-tokens", learning_rate=rate
    )
    assert explicit.outputs["same"] == manifest.outputs["grounded"] and "learning_rate" not in explicit.metrics


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


def test_trackers_are_the_trainers_own(make_world: Any, monkeypatch: Any) -> None:
    from transformers import TrainerCallback
    from transformers.integrations import integration_utils

    logs_received: list[Any] = []

    class Tracker(TrainerCallback):
        def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
            logs_received.append(logs)

    world = make_world()
    plain = ground(world.workspace, name="plain", **STEPS)
    with pytest.raises(InputError, match="--report-to 'paper' is not known"):
        ground(world.workspace, name="b", report_to=("paper",), **STEPS)
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", Tracker)
    monkeypatch.setattr(integration_utils, "get_available_reporting_integrations", lambda: ["wandb"])
    found = ground(world.workspace, name="b", report_to=("wandb",), **STEPS)
    assert sum("loss" in entry for entry in logs_received) == STEPS["max_steps"]
    assert found.metrics == plain.metrics and "report_to" not in found.options


def test_the_curve_begins_before_the_first_step_and_ends_with_the_last(make_world: Any) -> None:
    world = make_world()
    manifest = ground(world.workspace, eval_every=5, held_out=0.2, **STEPS)
    curve = pq.read_table(world.workspace / "grounded" / "trajectory.parquet").to_pydict()
    assert curve["step"] == list(range(25))
    assert curve["loss"][0] is None and np.isfinite(curve["loss"][1:]).all()
    names = ("loss_to_tokens", "loss_to_text", "accuracy_level_0", "effective_rank", "rsa_pearson", "rsa_spearman")
    for name in names:
        assert [n for n, value in enumerate(curve[name]) if value is not None] == [0, 5, 10, 15, 20, 24], name
        assert curve[name][0] == manifest.metrics[f"{name}_before"], name
        assert curve[name][24] == pytest.approx(manifest.metrics[name], abs=1e-6), name
    assert curve["loss_to_tokens"][24] < curve["loss_to_tokens"][0]


@pytest.mark.parametrize("more", [{}, {"lora": True}, {"unfreeze_steps": 4}])
def test_examples_in_a_file_give_the_bytes_of_those_in_memory(
    make_world: Any, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    world = make_world()
    options = {**STEPS, "max_steps": 6, "held_out": 0.2, **more}
    memory = ground(world.workspace, name="memory", **options)
    monkeypatch.setattr("gti_cli.training.batches.stored_examples.SHARE_OF_MEMORY", 0.0)
    monkeypatch.setattr("gti_cli.training.batches.stored_examples.PART", 5)
    file = ground(world.workspace, name="file", **options)
    assert memory.run["examples_kept_in"] == "memory" and file.run["examples_kept_in"] == "memory-mapped Arrow"
    assert list(memory.outputs.values()) == list(file.outputs.values()) and memory.metrics == file.metrics
    assert not list(world.workspace.rglob("*.arrow"))


def test_after_an_interruption_the_file_is_made_anew(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {**STEPS, "max_steps": 8}
    whole, broken = make_world(name="whole"), make_world(name="broken")
    expected = ground(whole.workspace, **few)
    monkeypatch.setattr("gti_cli.training.batches.stored_examples.SHARE_OF_MEMORY", 0.0)
    with monkeypatch.context() as patch:
        calls = interrupt(patch, "training_step", 6)
        with pytest.raises(KeyboardInterrupt):
            ground(broken.workspace, **few)
        assert not list(broken.workspace.rglob("*.arrow"))
    found = ground(broken.workspace, **few)
    assert len(calls) == 6 and found.outputs == expected.outputs and found.metrics == expected.metrics
