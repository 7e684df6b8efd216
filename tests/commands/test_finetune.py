"""`gti finetune`: what reaches the stage, and what is printed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from gti_cli.app import run
from gti_cli.options import RunOptions
from gti_cli.recommendation.options import LoRAOptions, TaskOptions, TrainingOptions
from gti_cli.tables.equal_times import InteractionOptions
from tests.support.commands import RecordingStage, make_manifest

MANIFEST = make_manifest(
    "tuned",
    "finetune",
    counts={"steps": 30, "cut_targets": 12, "lc_rec_texts_cut": 7},
    metrics={
        "tasks": {
            "next-item": {
                "targets": 1000,
                "targets_seen": 2000,
                "passes": 2.0,
                "valid_loss_before": 5.25,
                "valid_loss": 2.125,
            },
            "search": {"targets": 40, "targets_seen": 40, "passes": 1.0},
        },
        "epochs": 1.5,
        "train_loss": 2.75,
        "rows_travel_ratio": 8.5,
        "new_rows_moved": 0.0625,
    },
    run={"targets_per_second": 512.0},
)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> RecordingStage:
    stage = RecordingStage(MANIFEST)
    monkeypatch.setattr("gti_cli.recommendation.finetune.finetune", stage)
    return stage


def test_defaults_and_given_options_reach_the_stage(stage: RecordingStage, tmp_path: Path) -> None:
    flags = "--interactions i.csv --queries q.csv --from extended --name tuned --tasks next-item:1,search:0.5"
    flags += " --max-steps 9 --history 4 --seed 3 --no-resume --force -q --ties refuse --hold-out-items 0.1"
    assert run(["finetune", "-w", str(tmp_path), *flags.split()]) == 0
    ((arguments, keywords),) = stage.calls
    assert arguments == ("i.csv", tmp_path)
    expected: dict[str, Any] = {}
    for kind in (TaskOptions, InteractionOptions, TrainingOptions, LoRAOptions, RunOptions):
        expected |= {entry.name: entry.default for entry in dataclasses.fields(kind)}
    expected |= {"queries": "q.csv", "from_": "extended", "base": None, "name": "tuned", "max_steps": 9, "history": 4}
    expected |= {"hold_out_items": "0.1"}
    expected |= {"tasks": ("next-item:1", "search:0.5"), "seed": 3, "resume": False, "force": True, "ties": "refuse"}
    assert keywords == expected


def test_tables_of_losses_and_figures(stage: RecordingStage, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["finetune", "--interactions", "i.csv", "-w", "ws", "--name", "tuned"]) == 0
    out = capsys.readouterr().out
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for cells in (line.split("│") for line in out.splitlines() if line.startswith("│"))
    }
    assert rows["next-item"] == ["1,000", "2,000", "2.0000", "5.2500", "2.1250"]
    assert rows["search"] == ["40", "40", "1.0000", "–", "–"]
    assert rows["targets whose history was shortened"] == ["12"] and rows["texts shortened"] == ["7"]
    assert "queries shortened" not in rows and "at step" not in rows
    assert rows["targets per second"] == ["512.0000"] and rows["tokens per second"] == ["–"]
    assert out.splitlines()[-1] == "ws/tuned  (2.5 s)"


def test_the_best_step_of_a_validation_is_printed(stage: RecordingStage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.result = dataclasses.replace(
        MANIFEST,
        counts={**MANIFEST.counts, "best_step": 20},
        metrics={**MANIFEST.metrics, "valid_ndcg@10": 0.125},
    )
    assert run(["finetune", "--interactions", "i.csv"]) == 0
    out = capsys.readouterr().out
    assert "best NDCG@10 in validation" in out and "0.1250" in out and "at step" in out


def test_json_is_the_manifest(stage: RecordingStage, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["finetune", "--interactions", "i.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == MANIFEST.to_json()


def test_the_picture_is_drawn_where_asked(
    stage: RecordingStage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = RecordingStage([Path("ws/tuned_training.png")])
    monkeypatch.setattr("gti_cli.recommendation.plot.plot_training", plot)
    assert run(["finetune", "--interactions", "i.csv", "-w", "ws", "--name", "tuned"]) == 0 and plot.calls == []
    assert run(["finetune", "--interactions", "i.csv", "-w", "ws", "--name", "tuned", "--plot"]) == 0
    assert plot.calls == [((Path("ws"), "tuned"), {})]
    assert capsys.readouterr().out.splitlines()[-2] == "ws/tuned_training.png"
