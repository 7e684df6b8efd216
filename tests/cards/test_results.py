"""Evaluations as a card shows them, and which of them belong to a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gti_cli.cards.results import describe_evaluation, find_evaluations, hub_results, metric_names
from gti_cli.workspace import Workspace
from tests.support.cards import METRICS, add_evaluation, checkpoint_of
from tests.support.evaluation import World, add_checkpoint, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def test_only_evaluations_of_this_very_checkpoint(world: World) -> None:
    space = Workspace(world.workspace)
    add_checkpoint(space, space.manifest("semantic_ids"), "other", seed=1)
    for name, checkpoint in (("b", "finetuned"), ("a", "finetuned"), ("c", "other")):
        add_evaluation(space, world.interactions, name, checkpoint=checkpoint)
    runs = {f"evaluation/{name}": space.manifest(f"evaluation/{name}") for name in ("a", "b")}
    with space.stage(
        "evaluate", "evaluation/all", ["evaluation/all"], options={"runs": ["a", "b"]}, upstream=runs
    ) as run:  # type: ignore[arg-type]
        run.path("evaluation/all").mkdir(parents=True)
        run.metrics["metrics"] = METRICS
    found = find_evaluations(space, checkpoint_of(space))
    assert [manifest.name for manifest in found] == ["evaluation/a", "evaluation/b"]
    assert metric_names(found) == list(METRICS) and metric_names([]) == []
    some = replace(
        found[0], metrics={"metrics": dict.fromkeys(("novelty@5", "ndcg@10", "recall@20", "recall@5", "mrr"), 0)}
    )
    assert metric_names([some, found[0]]) == [
        *("recall@5", "recall@10", "recall@20", "ndcg@10", "mrr", "coverage@10", "novelty@5"),
    ]


def test_the_settings_in_words(world: World) -> None:
    space = Workspace(world.workspace)
    plain = describe_evaluation(add_evaluation(space, world.interactions))
    assert plain.settings == "beam search, 20 beams" and plain.methods == ["this model", "popularity"]
    more = {"filter_seen": True, "sample": 50, "sample_seed": 0, "history": 4, "dtype": "float32", "split": "valid"}
    full = describe_evaluation(add_evaluation(space, world.interactions, **more))
    assert full.split == "valid" and full.task == "Next-item recommendation"
    assert full.settings == (
        "beam search, 20 beams, histories of at most 4 items, items of the history left out, a random sample, float32"
    )
    search = describe_evaluation(add_evaluation(space, world.interactions, role="queries"))
    assert (search.task, search.role, search.evaluated) == ("Item search", "queries", 1234)


def test_evaluations_of_one_table_stay_apart_on_the_hub(world: World) -> None:
    from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

    space = Workspace(world.workspace)
    results = [result for name in ("a", "b") for result in hub_results(add_evaluation(space, world.interactions, name))]
    index = eval_results_to_model_index("finetuned", results)
    assert [len(entry["metrics"]) for entry in index[0]["results"]] == [len(METRICS)] * 2
    assert model_index_to_eval_results(index)[1] == results
