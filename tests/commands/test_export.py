"""`gti export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gti_cli.app import run
from gti_cli.semantic_ids.build import build_ids
from gti_cli.tables import read_semantic_ids
from tests.semantic_ids.test_build import make_items


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    build_ids(make_items(folder), folder / "ws", levels=3, codes=8)
    return folder / "ws"


def test_an_exported_index_comes_back_as_the_same_ids(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "index.json"
    assert run(["export", "index", "-o", str(path), "-w", str(workspace), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    before = read_semantic_ids(workspace / "semantic_ids.parquet")
    assert (told["items"], told["levels"]) == (len(before.item_ids), 3)
    index = json.loads(path.read_text("utf-8"))
    assert ["".join(index[item]) for item in before.item_ids] == before.tokens
    assert all(len(names) == 3 for names in index.values())
    items = make_items(tmp_path)
    build_ids(items, tmp_path / "ws", import_index=path)
    again = read_semantic_ids(tmp_path / "ws" / "semantic_ids.parquet")
    assert again.tokens == before.tokens and (again.codes == before.codes).all()
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_what_cannot_be_exported(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").write_text("mine")
    for arguments, message in (
        (["pictures", "-o", str(tmp_path / "x")], "cannot be exported"),
        (["index", "-o", str(tmp_path)], "folder"),
        (["index", "-o", str(tmp_path / "there")], "--force"),
        (["index", "-o", str(tmp_path / "no" / "x")], "no such folder"),
    ):
        assert run(["export", *arguments, "-w", str(workspace)]) == 2
        assert message in capsys.readouterr().err
    assert run(["export", "index", "-o", str(tmp_path / "x"), "-w", str(tmp_path / "none")]) == 2
    assert "gti build-ids" in capsys.readouterr().err
    assert (tmp_path / "there").read_text() == "mine" and not (tmp_path / "x").exists()
    assert run(["export", "index", "-o", str(tmp_path / "there"), "-w", str(workspace), "--force"]) == 0
    assert "<a_" in (tmp_path / "there").read_text("utf-8")
