"""`gti evaluate`: which stage runs with which options, and what is printed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from gti_cli.app import run
from gti_cli.commands.evaluate import print_metrics
from gti_cli.evaluation.options import EvaluateOptions
from gti_cli.options import RunOptions
from gti_cli.tables.equal_times import InteractionOptions
from tests.support.commands import RecordingStage, make_manifest

COUNTS = {"evaluated": 90, "catalogue": 1200, "semantic_ids": 1190, "beams": 20}
USERS = make_manifest(
    "evaluation/tuned",
    "evaluate",
    options={"k": [5, 10], "split": "test", "history": 20, "filter_seen": True},
    counts=COUNTS,
    metrics={
        "metrics": {"recall@5": 0.5, "recall@10": 0.75, "ndcg@5": 0.25, "ndcg@10": 0.375},
        "intervals": {name: [0.125, 0.875] for name in ("recall@5", "recall@10", "ndcg@5", "ndcg@10")},
        "baselines": {"popularity": {"recall@5": 0.0625, "recall@10": 0.0, "ndcg@5": 0.0, "ndcg@10": 0.0}},
        "tuning": {
            "item-knn": {
                "settings_tried": [1, 2, 3],
                "chosen": {"neighbours": 50, "shrink": 0.5},
                "held_out_targets_used": 80,
                "held_out_targets": 100,
            }
        },
    },
)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> RecordingStage:
    stage = RecordingStage(USERS)
    monkeypatch.setattr("gti_cli.evaluation.evaluate.evaluate", stage)
    return stage


def printed(manifest: Any, capsys: pytest.CaptureFixture[str]) -> str:
    print_metrics(manifest)
    return capsys.readouterr().out


def test_one_checkpoint_and_its_options(stage: RecordingStage, tmp_path: Path) -> None:
    flags = "--interactions i.csv --name here --k 10,5 --baselines popularity --sample 7 --seed 4 --device cpu -q"
    flags += " --duplicates drop"
    assert run(["evaluate", "tuned", "-w", str(tmp_path), *flags.split()]) == 0
    ((arguments, keywords),) = stage.calls
    assert arguments == ("i.csv", tmp_path)
    expected: dict[str, Any] = {"queries": None, "name": "here", "checkpoint": "tuned"}
    for kind in (EvaluateOptions, InteractionOptions, RunOptions):
        expected |= {entry.name: entry.default for entry in dataclasses.fields(kind)}
    expected |= {
        "k": (10, 5),
        "baselines": ("popularity",),
        "sample": 7,
        "seed": 4,
        "device": "cpu",
        "duplicates": "drop",
    }
    assert keywords == expected


def test_several_checkpoints_are_summarised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    several, summary = RecordingStage(([USERS, USERS], "a-b")), RecordingStage(USERS)
    monkeypatch.setattr("gti_cli.evaluation.several_seeds.evaluate_several", several)
    monkeypatch.setattr("gti_cli.evaluation.several_seeds.summarise", summary)
    assert run(["evaluate", "a", "b", "-w", str(tmp_path), "--interactions", "i.csv", "--force", "-q"]) == 0
    assert several.calls[0][0] == (["a", "b"], "i.csv", tmp_path)
    assert summary.calls[0][0] == ([USERS, USERS], tmp_path, "a-b")
    assert summary.calls[0][1] == {**dataclasses.asdict(RunOptions()), "force": True}


def test_other_processes_print_nothing(
    stage: RecordingStage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gti_cli import console

    monkeypatch.setenv("RANK", "1")
    try:
        assert run(["evaluate", "--interactions", "i.csv"]) == 0
    finally:
        console.set_muted(False)
    assert len(stage.calls) == 1 and capsys.readouterr().out == ""


def test_a_comparison_that_is_impossible_fails_before_the_search(
    stage: RecordingStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ws").mkdir()
    command = ["evaluate", "--interactions", "i.csv", "-w", str(tmp_path / "ws"), "--compare", "absent"]
    assert run(command) == 2
    assert stage.calls == [] and "absent" in capsys.readouterr().err


def test_a_comparison_is_printed_after_the_metrics(
    stage: RecordingStage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    test = {"difference": 0.0625, "low": -0.125, "high": 0.25, "p": 0.5}
    differences = make_manifest(
        "evaluation/tuned-vs-other",
        options={"compare": ["tuned", "other"]},
        counts={"users": 90},
        metrics={"ndcg@10": test},
    )
    monkeypatch.setattr("gti_cli.evaluation.compare.check_other", lambda *_, **__: None)
    compare = RecordingStage(differences)
    monkeypatch.setattr("gti_cli.evaluation.compare.compare", compare)
    command = ["evaluate", "tuned", "--interactions", "i.csv", "-w", "ws", "--compare", "other", "--seed", "8"]
    assert run(command) == 0
    out = capsys.readouterr().out
    assert "tuned minus other, n = 90" in out
    assert out.splitlines()[-2:] == ["ws/evaluation/tuned", "ws/evaluation/tuned-vs-other"]
    assert compare.calls == [((Path("ws"), "tuned", "other"), {"seed": 8, "force": False, "resume": True})]
    assert run([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["name"] == "evaluation/tuned" and result["comparison"] == differences.to_json()


def test_figures_stand_above_their_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(USERS, capsys).splitlines()
    assert lines[0].rstrip() == "90 users, 1,200 items (1,190 semantic IDs), test part, 20 beams"
    number = next(n for n, line in enumerate(lines) if line.startswith("│ tuned"))
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines[number : number + 3]]
    assert cells[0] == ["tuned", "0.5000", "0.7500", "0.2500", "0.3750"]
    assert cells[1] == ["", *["0.1250–0.8750"] * 4]
    assert cells[2][:2] == ["popularity", "0.0625"]
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
    assert any("+0.0130 to +0.0485" in line for line in lines)
