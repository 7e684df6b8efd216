"""Several tasks in one run: trained, counted, and resumed to the same bytes."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.recommendation.finetune import finetune
from gti_cli.workspace.manifest import digest_path

FEW: dict[str, Any] = {"max_steps": 6, "batch_size": 16, "learning_rate": 3e-3, "device": "cpu", "dtype": "float32"}
TASKS = ("next-item:2", "search:1", "lc-rec:1")


def test_tasks_are_mixed_in_their_shares_and_counted(make_world: Any) -> None:
    world = make_world()
    manifest = finetune(
        world.interactions, world.workspace, queries=world.queries, tasks=TASKS, **{**FEW, "max_steps": 30}
    )
    found = manifest.metrics["tasks"]
    assert list(found) == ["next-item", "search", "lc-rec"] and manifest.options["tasks"] == list(TASKS)
    assert found["search"]["targets"] == manifest.counts["search_pairs"] == 16
    assert found["search"]["targets_seen"] == found["lc-rec"]["targets_seen"] == 4 * 30
    assert 4 * 30 < found["next-item"]["targets_seen"] <= 8 * 30
    assert found["search"]["passes"] == 4 * 30 / 16
    assert manifest.counts["targets_seen"] == sum(task["targets_seen"] for task in found.values())
    assert found["search"]["valid_targets"] == manifest.counts["search_valid_pairs_used"] == 4
    for task in found.values():
        assert task["valid_loss"] < task["valid_loss_before"]
    assert manifest.metrics["valid_loss"] == found["next-item"]["valid_loss"]
    assert {"queries", "lc_rec_text->item", "train_targets"} <= set(manifest.counts)
    assert set(manifest.inputs) == {"interactions", "queries"}


def test_search_alone_is_validated_by_ranking_queries(make_world: Any) -> None:
    world = make_world()
    manifest = finetune(None, world.workspace, queries=world.queries, validations=2, **FEW)
    assert manifest.counts["valid_queries_ranked"] == 4 and 0 <= manifest.metrics["valid_ndcg@10"] <= 1
    assert manifest.metrics["valid_loss"] < manifest.metrics["valid_loss_before"]
    assert not {"wordings", "targets", "max_text_tokens"} & set(manifest.options)
    with pytest.raises(InputError, match="no validation example to rank"):
        finetune(None, world.workspace, name="b", tasks=("lc-rec",), validations=2, **FEW)


def test_resumed_run_of_all_tasks_equals_an_unbroken_one(make_world: Any, resumed: Any) -> None:
    world = make_world()
    other = world.workspace.with_name("unbroken")
    shutil.copytree(world.workspace, other)
    options = {**FEW, "max_steps": 20, "lora": True, "lora_dropout": 0.2, "tasks": TASKS, "queries": world.queries}
    whole = finetune(world.interactions, other, **options)
    result = world.workspace / "finetuned"
    found = resumed(lambda: finetune(world.interactions, world.workspace, **options), result)
    assert digest_path(result, "gti.json") == digest_path(other / "finetuned", "gti.json")
    assert found.metrics == whole.metrics and found.counts == whole.counts
