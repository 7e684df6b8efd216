"""`gti evaluate`: which stage runs with which options, and what follows the table (`test_evaluation_tables.py`)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from gti_cli.app import run
from gti_cli.evaluation.options import EvaluateOptions
from gti_cli.options import RunOptions
from gti_cli.tables.equal_times import InteractionOptions
from tests.support.commands import EVALUATION as USERS
from tests.support.commands import RecordingStage, make_manifest


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> RecordingStage:
    stage = RecordingStage(USERS)
    monkeypatch.setattr("gti_cli.evaluation.evaluate.evaluate", stage)
    return stage


def test_one_checkpoint_and_its_options(stage: RecordingStage, tmp_path: Path) -> None:
    flags = "--interactions i.csv --name here --k 10,5 --baselines popularity --sample 7 --seed 4 --device cpu -q"
    flags += " --duplicates drop"
    assert run(["evaluate", "tuned", "-w", str(tmp_path), *flags.split()]) == 0
    ((arguments, keywords),) = stage.calls
    assert arguments == ("i.csv", tmp_path)
    expected: dict[str, Any] = {"queries": None, "name": "here", "checkpoint": "tuned", "base": None}
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


def test_pictures_are_drawn_where_asked(
    stage: RecordingStage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = RecordingStage([Path("ws/evaluation/tuned_accuracy.png")])
    monkeypatch.setattr("gti_cli.evaluation.plot.plot_accuracy", plot)
    assert run(["evaluate", "tuned", "--interactions", "i.csv", "-w", "ws"]) == 0 and plot.calls == []
    assert run(["evaluate", "tuned", "--interactions", "i.csv", "-w", "ws", "--plot"]) == 0
    assert plot.calls == [((Path("ws"), "evaluation/tuned"), {})]
    assert capsys.readouterr().out.splitlines()[-2] == "ws/evaluation/tuned_accuracy.png"
