"""The tables that `gti evaluate` prints: which figures, how wide, and the remarks below them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gti_cli.commands.printing.evaluation_tables import all_metrics, leading_metrics, print_metrics, print_slices
from tests.support.commands import EVALUATION as USERS
from tests.support.commands import EVALUATION_COUNTS as COUNTS


def printed(manifest: Any, capsys: pytest.CaptureFixture[str]) -> str:
    print_metrics(manifest)
    return capsys.readouterr().out


def test_figures_stand_above_their_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(USERS, capsys).splitlines()
    assert lines[0].rstrip() == "90 users, 1,200 items (1,190 semantic IDs), test part, 20 beams"
    number = next(n for n, line in enumerate(lines) if line.startswith("│ tuned"))
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines[number : number + 3]]
    assert cells[0] == ["tuned", ".5000", ".7500", ".2500", ".3750"]
    assert cells[1] == ["", *[".1250–.8750"] * 4]
    assert cells[2][:2] == ["popularity", ".0625"]
    tuning = "item-knn: the best of 3 settings by NDCG@10 on 80 of 100 held-out items: neighbours 50, shrink 0.5."
    assert tuning in lines
    assert lines[-1] == tuning  # nothing unusual happened, so no remark follows


@pytest.mark.parametrize(
    ("counts", "remark"),
    [
        ({"queries": 90, "left_out_without_good": 3}, "3 queries have no item of relevance 2 and are left out."),
        ({"queries_cut": 4}, "4 queries are longer than a prompt can hold"),
        ({"widest_beam": 25}, "up to 25 beams"),
        ({"interactions_not_shown": 6}, "6 interactions are older than the 20 items that a prompt shows."),
        ({"users_whose_beam_missed": 2, "semantic_ids_the_beam_missed": 5}, "missed 5 semantic IDs of 2 users."),
        ({"targets_in_history": 7}, "7 of 90 targets are items the user already had"),
        ({"lists_shorter_than_k": 8}, "8 users have lists shorter than 10 items"),
    ],
)
def test_remarks_follow_where_they_apply(
    counts: dict[str, int], remark: str, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = dataclasses.replace(USERS, counts={**COUNTS, **counts})
    if "queries" in counts:
        scores = {f"{metric}@{k}": 0.5 for metric in ("precision_good", "precision_maybe", "ndcg") for k in (5, 10)}
        metrics = {"metrics": scores, "intervals": {name: [0.0, 1.0] for name in scores}, "baselines": {}, "tuning": {}}
        manifest = dataclasses.replace(manifest, metrics=metrics)
    assert remark in printed(manifest, capsys).splitlines()[-1]


def test_a_sample_and_several_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runs = {name: {**USERS.metrics["metrics"], "recall@5": value} for name, value in (("b", 0.375), ("a", 0.625))}
    spread = dict.fromkeys(USERS.metrics["metrics"], 0.03125)
    manifest = dataclasses.replace(
        USERS,
        counts={**COUNTS, "not_drawn": 910},
        metrics={**USERS.metrics, "runs": runs, "spread": spread},
    )
    lines = printed(manifest, capsys).splitlines()
    assert lines[0].startswith("90 users of 1,000, drawn by seed, ")
    names = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    assert [name for name in names if name] == ["a", "b", "mean of 2 runs", "standard deviation", "popularity"]


def evaluation(cutoffs: list[int], kinds: list[str], **more: Any) -> Any:
    """An evaluation with one value for all metrics, as wide as figures get."""
    names = [f"{kind}@{k}" for k in cutoffs for kind in kinds] + ["mrr"]
    scores, ends = dict.fromkeys(names, 0.123456), {name: [0.111111, 0.133333] for name in names}
    baselines = dict.fromkeys(("item-knn (untuned)", "item-knn", "popularity"), scores)
    metrics = {
        "metrics": {**scores, "novelty@10": 10.25},
        "intervals": ends,
        "baselines": {name: {**scores, "novelty@10": 8.0} for name in baselines},
        "baseline_intervals": dict.fromkeys(baselines, ends),
        "tuning": {},
        **more,
    }
    return dataclasses.replace(USERS, metrics=metrics, options={**USERS.options, "k": cutoffs})


@pytest.mark.parametrize("subjects", ["users", "queries"])
def test_the_table_fits_80_columns_whatever_the_cutoffs(subjects: str, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = ["recall", "ndcg", "precision"]
    if subjects == "queries":
        kinds = ["recall", "ndcg", "hit_rate", "precision_good", "precision_maybe"]
    manifest = evaluation([5, 10, 20, 50, 100], kinds)
    manifest = dataclasses.replace(manifest, counts={**COUNTS, subjects: 90}, name="evaluation/finetuned-search")
    lines = printed(manifest, capsys).splitlines()
    assert max(map(len, lines)) <= 80 and max(map(len, lines)) > 60
    assert any("finetuned-search" in line and line.count(".1235") == 4 for line in lines)
    heading = next(line for line in lines if "method" in line)
    chosen = (
        ("recall@5", "recall@10", "recall@20", "ndcg@10") if subjects == "users" else ("recall@10", "ndcg@10", "mrr")
    )
    assert all(name in heading for name in chosen)


def test_wide_has_every_metric_and_slices(capsys: pytest.CaptureFixture[str]) -> None:
    bins = {label: {"targets": 4, "recall@10": 0.5} for label in ("100+", "0", "5-19", "1-4")}
    other = {label: {"targets": 4, "recall@10": 0.25} for label in bins}
    slices = {"slices": {"target_training_interactions": bins}}
    manifest = evaluation([5, 10], ["recall", "ndcg", "precision"], **slices)
    print_metrics(manifest, wide=True)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows if row] == ["recall@5", "recall@10", "ndcg@5", "ndcg@10", "mrr", "novelty@10"]
    assert ["recall@5", *[".1235 .1111–.1333"] * 4] in rows
    assert ["novelty@10", "10.2500", *["8.0000"] * 3] in rows
    manifest.metrics["baseline_slices"] = {"popularity": {"target_training_interactions": other}}
    print_slices(manifest)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert [row for row in rows if row] == [[label, "4", "0.5000", "0.2500"] for label in ("0", "1-4", "5-19", "100+")]


@pytest.mark.parametrize(
    ("cutoffs", "expected"),
    [
        ([5, 10, 20, 50, 100], ["recall@5", "recall@10", "recall@20", "ndcg@10"]),
        ([5, 10], ["recall@5", "recall@10", "ndcg@5", "ndcg@10"]),
        ([1, 3], ["recall@1", "recall@3", "ndcg@1", "ndcg@3"]),
        ([10], ["recall@10", "ndcg@10", "mrr"]),
    ],
)
def test_the_four_figures(cutoffs: list[int], expected: list[str]) -> None:
    available = [f"{kind}@{k}" for kind in ("ndcg", "recall", "precision", "novelty") for k in cutoffs] + ["mrr"]
    assert leading_metrics(available, cutoffs, "users") == expected
    assert set(all_metrics(available)) == {name for name in available if not name.startswith("precision@")}


def test_a_blend_and_what_its_members_add(capsys: pytest.CaptureFixture[str]) -> None:
    gain = {"difference": 0.0312, "low": 0.013, "high": 0.0485, "p": 0.01}
    columns = ("recall@5", "recall@10", "ndcg@5", "ndcg@10")
    counts = {"evaluated": 90, "catalogue": 1200, "semantic_ids": 1190, "list_length": 100}
    report = {"metrics": {}, "differences": dict.fromkeys(columns, gain)}
    metrics = {**USERS.metrics, "without": {"item-knn": report}}
    lines = printed(dataclasses.replace(USERS, counts=counts, metrics=metrics), capsys).splitlines()
    assert lines[0].rstrip().endswith("test part, lists of 100")
    row = next(line for line in lines if "+0.0312" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == ["item-knn", *["+0.0312"] * 4]
    assert any("+0.0130 +0.0485" in line for line in lines)
