"""What a stage must not write over."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
from tests.support.stages import run_stage


def test_other_options_are_refused_with_the_difference(tmp_path: Path) -> None:
    run_stage(tmp_path)
    with pytest.raises(InputError, match=r"text 'one' -> 'two'.*--force"):
        run_stage(tmp_path, "two")
    assert (tmp_path / "thing.txt").read_text() == "one"
    done, _ = run_stage(tmp_path, "two", force=True)
    assert not done
    assert (tmp_path / "thing.txt").read_text() == "two"


def test_other_seed_and_input_are_named(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("a")
    run_stage(tmp_path / "w", inputs={"items": source})
    with pytest.raises(InputError, match="seed 0 -> 1"):
        run_stage(tmp_path / "w", inputs={"items": source}, seed=1)
    source.write_text("b")
    with pytest.raises(InputError, match="input items differs"):
        run_stage(tmp_path / "w", inputs={"items": source})


def test_file_without_manifest_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thing.txt").write_text("somebody's own")
    with pytest.raises(InputError, match="without a manifest"):
        run_stage(tmp_path)
    assert (tmp_path / "thing.txt").read_text() == "somebody's own"


@pytest.mark.parametrize("force", [False, True])
def test_an_input_is_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thing.txt").write_text("the only copy")
    (tmp_path / "link.txt").symlink_to("thing.txt")
    for given in ("thing.txt", "link.txt"):
        with pytest.raises(InputError, match=r"this is an input of the command.*another --workspace"):
            run_stage(Path(), inputs={"items": given}, force=force)
    (tmp_path / "thing.json").write_text("[]")
    with pytest.raises(InputError, match="this is an input of the command"):
        run_stage(Path(), inputs={"index": "thing.json"}, force=force)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with (
        pytest.raises(InputError, match="this is an input of the command"),
        Workspace(".").stage("c", "model", ["model"], options={}, inputs={"x": "model/config.json"}, force=force),
    ):
        pass
    assert (tmp_path / "thing.txt").read_text() == "the only copy"
    assert (tmp_path / "model" / "config.json").exists()
    assert run_stage(tmp_path / "w", inputs={"items": "thing.txt"}, force=force)[0] is False


@pytest.mark.parametrize("link", ["evaluation", "diagnostics", ".gti", ".gti/staging", ".gti/lock"])
def test_nothing_is_written_through_a_link_in_the_workspace(tmp_path: Path, link: str) -> None:
    outside, root = tmp_path / "outside", tmp_path / "real"
    (outside / "thing").mkdir(parents=True)
    (outside / "file").write_text("the user's")
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(outside / "file" if link == ".gti/lock" else outside)
    before = sorted(outside.rglob("*"))
    with (
        pytest.raises(InputError, match=f"{link}: this is a symbolic link.*a folder in its place"),
        Workspace(root).stage("evaluate", "evaluation/x", ["evaluation/x"], options={}),
    ):
        pass
    assert sorted(outside.rglob("*")) == before and (outside / "file").read_text() == "the user's"
    (root / link).unlink()
    (tmp_path / "ws").symlink_to(root)  # the user's own link to a workspace is followed
    with Workspace(tmp_path / "ws").stage("evaluate", "evaluation/x", ["evaluation/x"], options={}) as run:
        run.path("evaluation/x").mkdir(parents=True)
    assert (root / "evaluation" / "x.json").is_file()
