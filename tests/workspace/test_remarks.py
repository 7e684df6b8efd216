"""Remarks on input files: printed once, and kept for the manifest of who reads the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gti_cli.workspace import Workspace
from gti_cli.workspace.remarks import remark, remarks_on


def test_a_remark_is_printed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x")
    for message in ("odd", "odd", "even"):
        remark(path, message)
    assert capsys.readouterr().err == f"{path}: odd\n{path}: even\n"
    assert remarks_on(path) == remarks_on(str(path)) == remarks_on(tmp_path) == ["odd", "even"]
    assert remarks_on(tmp_path / "other.csv") == []


def test_a_file_that_was_written_again_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x")
    remark(path, "odd")
    path.write_text("yz")
    os.utime(path, (1, 1))
    assert remarks_on(path) == []


def test_the_manifest_has_the_remarks_on_its_inputs_outside_of_its_digest(tmp_path: Path) -> None:
    manifests = []
    for name, message in (("a", "odd"), ("b", "")):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "t.csv"
        path.write_text("x")
        if message:
            remark(path, message)
        with Workspace(tmp_path / f"w{name}").stage("do", "x", ["x.txt"], options={}, inputs={"table": path}) as run:
            run.path("x.txt").write_text("done")
        manifests.append(run.result())
    assert [manifest.run.get("remarks") for manifest in manifests] == [{"table": ["odd"]}, None]
    assert manifests[0].digest == manifests[1].digest
