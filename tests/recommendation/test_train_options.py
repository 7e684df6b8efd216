"""What further options of a run do: validation on the way, packing, number format, memory."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

import pytest
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from gti_cli.errors import InputError
from gti_cli.recommendation.finetune import finetune
from gti_cli.training.trainer import PlannedTrainer
from gti_cli.workspace.manifest import digest_path

FEW = {"max_steps": 6, "batch_size": 16, "learning_rate": 3e-3, "device": "cpu", "dtype": "float32"}


def test_looking_on_the_way_changes_nothing(make_world: Any) -> None:
    world = make_world()
    options = {**FEW, "lora": True, "learning_rate": 1e-2}
    plain = finetune(world.interactions, world.workspace, name="plain", **options)
    assert "valid_ndcg@10" not in plain.metrics
    manifest = finetune(world.interactions, world.workspace, name="looking", validations=2, **options)
    assert manifest.counts["valid_users_ranked"] == manifest.counts["valid_targets_used"] > 7
    few = finetune(world.interactions, world.workspace, name="few", validations=1, rank_sample=7, **FEW)
    assert 4 <= few.counts["valid_users_ranked"] <= 7 and few.options["rank_sample"] == 7
    assert manifest.counts["validations"] == 2 and manifest.counts["best_step"] in (3, 6)
    assert manifest.counts["valid_users_ranked"] == len(world.histories)
    assert 0 < manifest.metrics["valid_ndcg@10"] <= 1
    assert manifest.metrics["train_loss"] == plain.metrics["train_loss"]


def test_best_weights_are_kept_and_patience_stops(make_world: Any, monkeypatch: Any) -> None:
    world = make_world()
    values = iter([0.3, 0.5, 0.4, 0.2])
    monkeypatch.setattr("gti_cli.training.callbacks.validation.Ranker.__call__", lambda *_: next(values))
    stopped = finetune(world.interactions, world.workspace, name="stopped", validations=6, patience=2, **FEW)
    assert (stopped.counts["best_step"], stopped.counts["steps"], stopped.counts["steps_planned"]) == (2, 4, 6)
    # What is kept is the second step's, also where training went on to the end.
    values = iter([0.3, 0.5, 0.1, 0.1, 0.1, 0.1])
    finetune(world.interactions, world.workspace, name="on", validations=6, **FEW)
    finetune(world.interactions, world.workspace, name="last", **FEW)
    digests = [digest_path(world.workspace / name, "gti.json") for name in ("stopped", "on", "last")]
    assert digests[0] == digests[1] != digests[2]


def test_a_training_that_diverges_ends_at_once(make_world: Any, capsys: Any) -> None:
    world = make_world()
    with pytest.raises(InputError, match=r"diverged: .* Lower --learning-rate or --rows-learning-rate"):
        finetune(world.interactions, world.workspace, **{**FEW, "max_steps": 50, "learning_rate": 1e38})
    assert "Fine-tuning: 50/50" not in capsys.readouterr().err


def test_a_run_that_stopped_early_is_not_trained_on_when_it_is_resumed(make_world: Any, monkeypatch: Any) -> None:
    world = make_world()
    options = {**FEW, "max_steps": 10, "validations": 10, "patience": 2}  # saved at every step
    values = [0.3, 0.5, 0.4, 0.2]

    def run(name: str, found: list[float]) -> Any:
        measured = iter(found)
        monkeypatch.setattr("gti_cli.training.callbacks.validation.Ranker.__call__", lambda *_: next(measured))
        return finetune(world.interactions, world.workspace, name=name, **options)

    whole = run("whole", values)
    with monkeypatch.context() as patch:
        patch.setattr("gti_cli.recommendation.train._record_training", raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            run("broken", values)
    steps: list[int] = []
    loss = PlannedTrainer.compute_loss
    monkeypatch.setattr(PlannedTrainer, "compute_loss", lambda *a, **k: (steps.append(1), loss(*a, **k))[1])
    resumed = run("broken", [])
    assert steps == [] and resumed.counts == whole.counts and resumed.counts["steps"] == 4
    assert resumed.metrics == whole.metrics
    digests = [digest_path(world.workspace / name, "gti.json") for name in ("whole", "broken")]
    assert digests[0] == digests[1]


def raise_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


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


def test_trees_and_separate_examples_train_alike(make_world: Any, monkeypatch: Any, capsys: Any) -> None:
    world = make_world()
    # All targets in every step: the order of the batches cannot differ.
    options = {**FEW, "max_steps": 3, "batch_size": 10_000, "history": 5}
    trees = finetune(world.interactions, world.workspace, name="trees", **options)
    monkeypatch.setattr("gti_cli.training.answer_loss.supports_tree_mask", lambda *_: False)
    capsys.readouterr()
    apart = finetune(world.interactions, world.workspace, name="apart", **options)
    assert "does not take the mask of history trees" in capsys.readouterr().err
    assert (trees.details["packing"], apart.details["packing"]) == ("history trees", "separate examples")
    assert trees.counts["targets_seen"] == apart.counts["targets_seen"] == 3 * trees.counts["train_targets"]
    assert trees.counts["tokens_seen"] < apart.counts["tokens_seen"] / 2
    for metric in ("train_loss", "valid_loss", "new_rows_moved"):
        assert trees.metrics[metric] == pytest.approx(apart.metrics[metric], rel=1e-4)


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
    options = {**FEW, "max_steps": 2, "lora": lora, "lora_dropout": 0.0}
    plain = finetune(world.interactions, world.workspace, name="plain", **options)
    less = finetune(world.interactions, world.workspace, name="less", gradient_checkpointing=True, **options)
    assert less.metrics["valid_loss"] == pytest.approx(plain.metrics["valid_loss"], rel=1e-5)
    assert less.metrics["new_rows_moved"] == pytest.approx(plain.metrics["new_rows_moved"], rel=1e-3)


def test_histories_longer_than_the_models_positions_are_refused(make_world: Any) -> None:
    world = make_world()
    folder = world.workspace.parent / "short"
    shutil.copytree(world.workspace / "grounded", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 135}))
    with pytest.raises(InputError, match=r"more than the 135 positions .* --history \d+ or fewer") as error:
        finetune(world.interactions, world.workspace, from_=str(folder), **FEW)
    fits = int(str(error.value).rpartition("--history ")[2].split()[0])
    finetune(world.interactions, world.workspace, from_=str(folder), history=fits, **FEW)
    with pytest.raises(InputError, match="more than the 135 positions"):
        finetune(world.interactions, world.workspace, from_=str(folder), name="b", history=fits + 1, **FEW)
