"""`gti status`: the artifacts of a workspace, in a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gti_cli.app import run
from gti_cli.workspace import Workspace
from tests.support.stages import run_stage


def test_an_empty_workspace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "-w", str(tmp_path)]) == 0
    assert "Nothing here yet" in capsys.readouterr().out
    assert run(["status", "-w", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"workspace": str(tmp_path), "artifacts": []}


def test_no_workspace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "-w", str(tmp_path / "absent")]) == 2
    assert "no such workspace" in capsys.readouterr().err and not (tmp_path / "absent").exists()


def test_sources_and_states(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "items.csv"
    source.write_text("x")
    root = tmp_path / "ws"
    _, first = run_stage(root, inputs={"items": source})
    run_stage(root, "two", name="other", upstream={"thing": first})
    (root / "thing.txt").write_text("edited")
    (root / "broken").mkdir()
    (root / "broken" / "gti.json").write_text("{")
    assert run(["status", "-w", str(root)]) == 0
    table = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if line.startswith("│")]
    assert [[row[0], row[1], row[2], row[5]] for row in rows] == [
        ["thing", "make-thing", "items.csv", "stale: thing.txt was edited"],
        ["other", "make-thing", "thing", "stale: thing is stale"],
        ["broken", "", "–", "damaged: this is no manifest of gti, or a damaged one"],
    ]
    finished = first.run["finished"]
    assert rows[0][3] == f"{finished[:10]} {finished[11:19]}"


def test_json_has_the_reasons_and_the_whole_manifests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_stage(tmp_path)
    (tmp_path / "thing.txt").unlink()
    assert run(["status", "-w", str(tmp_path), "--json"]) == 0
    (artifact,) = json.loads(capsys.readouterr().out)["artifacts"]
    assert (artifact["name"], artifact["stale"]) == ("thing", ["thing.txt is missing"])
    assert artifact["manifest"] == Workspace(tmp_path).manifests()["thing"].to_json()
