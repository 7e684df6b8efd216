"""`gti report`: options, output and errors of the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gti_cli.app import run
from gti_cli.workspace import Workspace
from tests.support.pages import add_ids


def test_the_path_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_ids(Workspace(tmp_path))
    capsys.readouterr()
    assert run(["report", "-w", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"
    page = tmp_path / "other.html"
    assert run(["report", "-w", str(tmp_path), "-o", str(page), "--histories", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(page)}
    assert page.is_file()


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "-w", str(tmp_path / "absent")]) == 2
    assert "no such workspace" in capsys.readouterr().err
    assert run(["report", "-w", str(tmp_path)]) == 2
    assert "the workspace is empty" in capsys.readouterr().err and list(tmp_path.iterdir()) == []
