"""Evaluations on a page: what stands in one table, and in which order."""

from __future__ import annotations

from typing import Any

from gti_cli.pages.evaluations import comparisons, evaluation_groups
from gti_cli.workspace.manifest import Manifest
from tests.support.commands import make_manifest

TABLE = {"interactions": {"path": "/data/x.parquet", "sha256": "s", "bytes": 1}}


def evaluation(name: str, ndcg: float, **fields: Any) -> Manifest:
    metrics = {
        "metrics": {"ndcg@10": ndcg, "recall@10": 0.5, "ndcg@100": 0.1, "mrr": 0.2},
        "baselines": {"popularity": {"ndcg@10": 0.25, "recall@10": 0.75}},
        "intervals": {"ndcg@10": [0.1, 0.9]},
        **fields.pop("metrics", {}),
    }
    options = {"k": [10, 100], "split": "test", "search": "beam", "beams": 100, **fields.pop("options", {})}
    counts = {"evaluated": 5, "catalogue": 9, **fields.pop("counts", {})}
    content = {"inputs": TABLE, **fields, "options": options, "counts": counts, "metrics": metrics}
    return make_manifest(f"evaluation/{name}", "evaluate", **content)


def by_name(*manifests: Manifest) -> dict[str, Manifest]:
    return {manifest.name: manifest for manifest in manifests}


def test_models_and_baselines_by_accuracy_and_the_best_of_each_column() -> None:
    (group,) = evaluation_groups(by_name(evaluation("a", 0.125), evaluation("b", 0.5)))
    assert (
        group.title == "x.parquet" and group.facts == "test part, 5 users, 9 items to rank, beam search with 100 beams"
    )
    assert list(group.columns) == ["Recall@10", "NDCG@10"] and group.main_column == 1
    assert [(row.name, row.is_baseline) for row in group.rows] == [("b", False), ("popularity", True), ("a", False)]
    assert [cell[2] for row in group.rows for cell in row.cells] == [False, True, True, False, False, False]
    assert group.rows[0].cells[1] == (0.5, [0.1, 0.9], True)
    assert list(group.all_columns) == ["recall@10", "ndcg@10", "ndcg@100", "mrr"]
    assert group.rows[1].cells[0] == (0.75, None, True) and group.all_rows[1].cells[2] == (None, None, False)


def test_what_was_measured_otherwise_stands_apart() -> None:
    drawn = evaluation("d", 0.5, options={"sample": 3}, counts={"not_drawn": 7})
    other = evaluation("o", 0.5, inputs={"interactions": {"path": "hf://n/d", "sha256": "t", "bytes": 1}})
    groups = evaluation_groups(by_name(evaluation("a", 0.5), drawn, other, make_manifest("evaluation/z", "evaluate")))
    assert [[m.name for m in group.manifests] for group in groups] == [
        ["evaluation/a"],
        ["evaluation/d"],
        ["evaluation/o"],
    ]
    assert "5 users of 12, drawn by seed" in groups[1].facts and groups[2].title == "hf://n/d"


def test_a_mean_over_runs_stands_beside_its_runs() -> None:
    runs = {"runs": {"a": {}, "b": {}}}
    upstream = {"evaluation/a": "x", "evaluation/b": "y"}
    mean = evaluation("m", 0.4, inputs={}, upstream=upstream, metrics=runs, options={"runs": ["a", "b"], "k": None})
    (group,) = evaluation_groups(by_name(evaluation("a", 0.5), evaluation("b", 0.3), mean))
    assert [row.name for row in group.rows if not row.is_baseline] == ["a", "m (mean of 2 runs)", "b"]


def test_queries_and_slices() -> None:
    slices = {"query_words": {"3-4": {"ndcg@10": 0.5, "queries": 2}, "1": {"ndcg@10": 0.25, "queries": 8}}}
    metrics = {"metrics": {"precision_good@10": 0.5, "ndcg@10": 0.5}, "baselines": {}, "slices": slices}
    inputs = {"queries": {"path": "q.csv", "sha256": "q", "bytes": 1}}
    (group,) = evaluation_groups(by_name(evaluation("q", 0.5, inputs=inputs, metrics=metrics)))
    assert list(group.columns) == ["Precision (good)@10", "NDCG@10"] and "5 queries" in group.facts
    (table,) = group.slices
    assert (table.title, table.parts, table.rows) == (
        "words of the query",
        [("1", 8), ("3-4", 2)],
        [("q", [0.25, 0.5])],
    )


def test_comparisons() -> None:
    test = {"difference": 0.5, "low": 0.25, "high": 0.75, "p": 0.01}
    manifest = make_manifest(
        "evaluation/a-vs-b", "evaluate", options={"compare": ["a", "b"]}, metrics={"ndcg@10": test}, counts={"users": 7}
    )
    assert comparisons(by_name(manifest)) == [("a minus b", 7, [("NDCG@10", 0.5, 0.25, 0.75, 0.01)])]
    assert evaluation_groups(by_name(manifest)) == []
