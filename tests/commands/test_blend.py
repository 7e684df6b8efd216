"""`gti blend`: which stage runs with which options, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gti_cli.app import run
from gti_cli.blending.options import BlendOptions
from gti_cli.commands.blend import print_blend
from gti_cli.options import RunOptions
from gti_cli.tables.equal_times import InteractionOptions
from tests.support.blends import Blended
from tests.support.commands import RecordingStage, make_manifest


def test_members_and_options(monkeypatch: pytest.MonkeyPatch, blended: Blended, tmp_path: Path) -> None:
    stage = RecordingStage(blended.manifest)
    monkeypatch.setattr("gti_cli.blending.blend.blend", stage)
    flags = "--of a,item-knn --interactions i.csv --name mix --sample 50 --filter-seen --seed 4 --ties refuse -q"
    assert run(["blend", "-w", str(tmp_path), *flags.split()]) == 0
    ((arguments, keywords),) = stage.calls
    assert arguments == (["a", "item-knn"], "i.csv", tmp_path)
    expected = {"name": "mix"}
    for kind in (BlendOptions, InteractionOptions, RunOptions):
        expected |= vars(kind())
    expected |= {"sample": 50, "filter_seen": True, "seed": 4, "ties": "refuse"}  # type: ignore[dict-item]
    assert keywords == expected


def test_members_are_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["blend", "--interactions", "i.csv"]) == 2
    assert "--of" in capsys.readouterr().err


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    loss = {"difference": 0.0123, "low": -0.001, "high": 0.02, "p": 0.05}
    member = {"ndcg@10": 0.0619, "weight": 0.25, "ndcg@10_without": 0.07, "loss_without": loss}
    choice = {
        "form": "contextual product",
        "forms": {"mixture": 0.08, "product": 0.081},
        "settings_tried": 77,
        "search_complete": False,
    }
    manifest = make_manifest(
        "blend",
        "blend",
        options={"of": ["b", "a"]},
        counts={"targets_used": 40, "valid_targets": 50, "targets_among_candidates": 30, "candidates": 400},
        metrics={
            "ndcg@10": 0.0823,
            "ndcg@10_interval": [0.07, 0.09],
            "choice": choice,
            "members": {"a": member, "b": {**member, "ndcg@10": 0.5}},
            "tuning": {},
        },
    )
    print_blend(manifest)
    out, err = capsys.readouterr()
    assert "NDCG@10 0.0823 (0.0700–0.0900) on" in out and "40 of 50 validation" in out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert rows[0] == ["b", "0.5000", "0.2500", "0.0700", "+0.0123"] and rows[1][-1] == "-0.0010 to +0.0200"
    assert rows[2][0] == "a" and "mixture 0.0800, product 0.0810" in out and "77 settings" in out
    assert "30 of 40 targets are among the candidates, 10 for a user" in out and "ended at its budget" in err
    assert "are their means over all candidates" in out.replace("\n", " ")


def test_on_the_command_line(blended: Blended, capsys: pytest.CaptureFixture[str]) -> None:
    """The blend of the fixture is done already; its manifest is printed."""
    world = blended.world
    flags = ["--of", "finetuned,item-knn,content-knn", "--list-length", "10", "--dtype", "float32", "--json"]
    assert run(["blend", "-w", str(world.workspace), "--interactions", str(world.interactions), *flags]) == 0
    assert json.loads(capsys.readouterr().out) == blended.manifest.to_json()
