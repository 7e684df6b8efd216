"""`gti export`."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gti_cli.app import run
from gti_cli.checkpoints.saving import PRIOR_FILE
from gti_cli.recommendation.recommend import recommend
from gti_cli.semantic_ids.build import build_ids
from gti_cli.tables import read_semantic_ids
from gti_cli.workspace import Workspace
from tests.support.evaluation import ITEMS, add_checkpoint, add_prompt_file, add_semantic_ids, make_codes
from tests.support.semantic_ids import make_items


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
        (["index"], "-o FILE"),
        (["index", "-o", str(tmp_path)], "folder"),
        (["index", "-o", str(tmp_path / "there")], "--force"),
        (["index", "-o", str(tmp_path / "no" / "x")], "no such folder"),
        (["index", "-o", str(tmp_path / "x"), "--ties", "refuse"], "index takes no tables and no options of tasks"),
    ):
        assert run(["export", *arguments, "-w", str(workspace)]) == 2
        assert message in capsys.readouterr().err
    assert run(["export", "index", "-o", str(tmp_path / "x"), "-w", str(tmp_path / "none")]) == 2
    assert "gti build-ids" in capsys.readouterr().err
    assert (tmp_path / "there").read_text() == "mine" and not (tmp_path / "x").exists()
    assert run(["export", "index", "-o", str(tmp_path / "there"), "-w", str(workspace), "--force"]) == 0
    assert "<a_" in (tmp_path / "there").read_text("utf-8")


def test_a_catalog_and_the_layout_that_an_engine_infers(
    workspace: Path, tmp_path: Path, make_checkpoint: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from gti_cli.checkpoints.new_tokens import read_new_tokens
    from gti_cli.vocabulary.extend import extend

    extend(str(make_checkpoint()), workspace, device="cpu")
    path = tmp_path / "catalog.json"
    assert run(["export", "catalog", "extended", "-o", str(path), "-w", str(workspace), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    ids = read_semantic_ids(workspace / "semantic_ids.parquet")
    catalog = json.loads(path.read_text("utf-8"))
    assert [catalog[",".join(map(str, codes))] for codes in ids.codes.tolist()] == ids.item_ids
    tokens = read_new_tokens(workspace / "extended")
    assert told["command"].endswith(f"--sid {tokens.ids.min()}:{tokens.ids.max()}/8,8,8")
    # An engine finds the token of code c of level l at START + 8 l + c.
    for name, number, level, code in zip(tokens.names, tokens.ids, tokens.levels, tokens.codes, strict=True):
        assert number == tokens.ids.min() + 8 * level + code, name


@pytest.mark.parametrize("length", [1, 7])  # 7: more than a prompt shows
def test_the_script_gives_the_lists_of_recommend(
    tmp_path: Path, length: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = Workspace(tmp_path / "ws")
    ids = add_semantic_ids(space, np.delete(make_codes(), 7, axis=0))  # without the item that shares its Semantic ID
    # A model's own settings of generation do not count.
    settings = {"do_sample": True, "temperature": 9.0, "repetition_penalty": 3.0, "eos_token_id": 2}

    def finish(folder: Path) -> None:
        add_prompt_file(folder)
        (folder / "generation_config.json").write_text(json.dumps(settings))

    add_checkpoint(space, ids, also=finish)
    add_checkpoint(space, ids, "old")
    arguments = ["-o", str(tmp_path / "catalog.json"), "-w", str(space.root), "--force"]
    assert run(["export", "catalog", "old", *arguments, "--json"]) == 0
    output = capsys.readouterr()
    assert "script" not in json.loads(output.out) and "holds no question" in " ".join(output.err.split())
    assert run(["export", "catalog", "finetuned", *arguments, "--json"]) == 0
    script = json.loads(capsys.readouterr().out)["script"]
    assert len(script.splitlines()) <= 25 and max(map(len, script.replace(str(tmp_path), "").splitlines())) <= 120
    history = [f"i{(5 * n) % (ITEMS - 1)}" for n in range(length)]
    monkeypatch.setattr("sys.argv", ["script.py", *history])
    exec(compile(script, "script.py", "exec"), {})
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    expected = recommend(space.root, histories={"u": history}, device="cpu", dtype="float32")
    assert [item for _, item in printed] == [one.item_id for one in expected] and len(printed) == 10
    assert [float(score) for score, _ in printed] == pytest.approx([one.score for one in expected], abs=2e-4)
    assert run(["export", "catalog", "finetuned", *arguments]) == 0
    assert script in capsys.readouterr().out


def test_a_checkpoint_with_a_behaviour_prior_is_served_without_it_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = Workspace(tmp_path / "ws")

    def finish(folder: Path) -> None:
        add_prompt_file(folder)
        (folder / PRIOR_FILE).parent.mkdir()
        (folder / PRIOR_FILE).touch()

    add_checkpoint(space, add_semantic_ids(space, np.delete(make_codes(), 7, axis=0)), also=finish)
    arguments = ["-o", str(tmp_path / "catalog.json"), "-w", str(space.root), "--json"]
    assert run(["export", "catalog", "finetuned", *arguments]) == 0
    output = capsys.readouterr()
    assert "was trained with a behaviour prior" in " ".join(output.err.split())
    assert json.loads(output.out)["script"].startswith("# This checkpoint was trained with a behaviour prior")


@pytest.mark.parametrize("what", ["index", "catalog"])
def test_a_full_disk_leaves_no_half_file(
    what: str, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(path: Path, *_: object) -> None:
        with path.open("w") as file:
            file.write("{")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", fail)
    path = tmp_path / "out.json"
    assert run(["export", what, "-o", str(path), "-w", str(workspace)]) == 2
    assert f"{path}: the disk is full" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_flashrec_reads_the_catalog(workspace: Path, tmp_path: Path) -> None:
    flashrec = pytest.importorskip("flashrec.sid_layout", reason="the package flashrec is not installed")
    assert run(["export", "catalog", "-o", str(tmp_path / "catalog.json"), "-w", str(workspace)]) == 0
    assert flashrec.catalog_code_width(str(tmp_path / "catalog.json")) == 3


def test_a_catalog_for_each_engine(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the files hold is tested in `tests/exporting`."""
    arguments = ["export", "catalog", "-w", str(workspace), "-o"]
    assert run([*arguments, str(tmp_path / "x"), "--engine", "xllm", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(file["path"], file["rows"]) for file in told["files"]] == [
        (str(tmp_path / "x"), told["items"]),
        (str(tmp_path / "x.items.parquet"), told["items"]),
    ]
    assert told["engine"] == "xllm" and told["output"] == str(tmp_path / "x") and told["files"][0]["bytes"] > 0
    assert run([*arguments, str(tmp_path / "x"), "--engine", "static", "--force"]) == 0
    shown = capsys.readouterr().out
    assert f"Catalogue for STATIC: {told['items']:,} items" in shown and "transitions" in shown
    assert "sparse_transition_torch" in shown
    for more, message in (
        (["--engine", "vllm"], "--engine 'vllm' is not known"),
        (["--engine", "nvidia"], "token ids of a checkpoint"),
        (["none", "--engine", "static"], "none"),
    ):
        assert run([*arguments, str(tmp_path / "y"), *more]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert run(["export", "index", "-w", str(workspace), "-o", str(tmp_path / "y"), "--engine", "static"]) == 2
    assert "--engine is for catalog" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"x", "x.items.parquet"}
