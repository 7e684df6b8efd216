"""A commit loses nothing, whenever the process is killed, and removes only outdated outputs of its own."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from gti_cli.workspace import Workspace, commit, lock, workspace
from gti_cli.workspace.commit import outdated_outputs
from gti_cli.workspace.manifest import Manifest
from tests.support.stages import run_stage


def killed(*_: object) -> None:
    raise SystemExit


def _stage(root: Path, *outputs: str) -> Manifest:
    with Workspace(root).stage("c", "thing", outputs, options={"outputs": outputs}, force=True) as run:
        for name in outputs:
            run.path(name).mkdir() if name == "folder" else run.path(name).write_text(name)
        if "folder" in outputs:
            (run.path("folder") / "inner").write_text("")
    return run.result()


def test_outputs_that_the_new_run_lacks_are_removed_unless_edited(tmp_path: Path) -> None:
    _stage(tmp_path, "a", "b", "edited", "folder")
    (tmp_path / "edited").write_text("by hand")
    (tmp_path / "other").write_text("the user's")
    _stage(tmp_path, "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gti", "a", "edited", "other", "thing.json"]


def test_after_a_kill_before_the_move_the_next_command_removes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stage(tmp_path, "a", "b")
    monkeypatch.setattr(commit, "roll_forward", killed)
    with pytest.raises(SystemExit):
        _stage(tmp_path, "a")
    monkeypatch.undo()
    assert (tmp_path / "b").exists()
    with Workspace(tmp_path).lock():
        pass
    assert not (tmp_path / "b").exists()


def test_nothing_outside_the_workspace_is_outdated_outputs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    old = _stage(tmp_path / "ws", "a", "b")
    outside = {"../file": old.outputs["a"], str(tmp_path / "file"): old.outputs["a"]}
    strange = Manifest.from_json({**old.to_json(), "outputs": {**old.outputs, **outside}})
    assert outdated_outputs(tmp_path / "ws", strange, _stage(tmp_path / "new", "a")) == ["b"]
    assert outdated_outputs(tmp_path / "ws", None, old) == []


def test_kill_between_commit_and_move_is_rolled_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_stage(tmp_path)
    # As if killed right after COMMIT.json was written.
    monkeypatch.setattr(commit, "roll_forward", killed)
    with pytest.raises(SystemExit):
        run_stage(tmp_path, "two", force=True)
    monkeypatch.undo()
    assert (tmp_path / "thing.txt").read_text() == "one"
    with Workspace(tmp_path).lock():
        pass
    assert (tmp_path / "thing.txt").read_text() == "two"
    assert run_stage(tmp_path, "two")[0] is True


def test_kill_in_the_middle_of_the_move_is_rolled_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stage(force: bool) -> None:
        with Workspace(tmp_path).stage("c", "pair", ["a.txt", "b"], options={"n": force}, force=force) as run:
            run.path("a.txt").write_text(f"a{force}")
            run.path("b").mkdir()
            (run.path("b") / "inner.txt").write_text(f"b{force}")

    stage(False)
    moves = []

    def replace_once(self: Path, target: Path) -> Path:
        if self.name == "b":
            raise SystemExit  # killed after the first of two moves
        moves.append(self.name)
        return original(self, target)

    original = Path.replace
    monkeypatch.setattr(Path, "replace", replace_once)
    with pytest.raises(SystemExit):
        stage(True)
    monkeypatch.undo()
    assert "a.txt" in moves
    with Workspace(tmp_path).lock():
        pass
    assert (tmp_path / "a.txt").read_text() == "aTrue"
    assert (tmp_path / "b" / "inner.txt").read_text() == "bTrue"
    assert Workspace(tmp_path).require("pair", "c").options == {"n": True}


def test_outputs_get_the_permissions_of_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with Workspace(tmp_path).stage("c", "thing", ["thing"], options={}) as run:
            run.path("thing").mkdir()
            (run.path("thing") / "weights").write_text("")
            (run.path("thing") / "weights").chmod(0o600)
    finally:
        os.umask(old)
    assert (tmp_path / "thing" / "weights").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("output", ["a", "folder"])
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_link_in_the_place_of_an_output_is_replaced(tmp_path: Path, output: str, is_folder: bool) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("the user's")
    root = tmp_path / "ws"
    root.mkdir()
    (root / output).symlink_to(outside if is_folder else outside / "file")
    _stage(root, output)
    assert not (root / output).is_symlink()
    assert [path.name for path in outside.iterdir()] == ["file"] and (outside / "file").read_text() == "the user's"


def test_an_outdated_output_that_is_a_link_is_removed_alone(tmp_path: Path) -> None:
    _stage(tmp_path / "ws", "a", "folder")
    (tmp_path / "ws" / "folder").rename(tmp_path / "elsewhere")
    (tmp_path / "ws" / "folder").symlink_to(tmp_path / "elsewhere")
    _stage(tmp_path / "ws", "a")
    assert not (tmp_path / "ws" / "folder").exists() and (tmp_path / "elsewhere" / "inner").is_file()


def test_a_link_in_the_place_of_the_staging_folder_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "files").mkdir(parents=True)
    (outside / "files" / "mine").write_text("the user's")
    (tmp_path / "ws" / ".gti" / "staging").mkdir(parents=True)
    (tmp_path / "ws" / ".gti" / "staging" / "thing").symlink_to(outside)
    _stage(tmp_path / "ws", "a")
    assert (tmp_path / "ws" / "a").read_text() == "a"
    assert [path.relative_to(outside).as_posix() for path in outside.rglob("*")] == ["files", "files/mine"]


def test_what_a_kill_right_after_the_commit_leaves_is_removed_by_the_next_run(tmp_path: Path) -> None:
    run_stage(tmp_path)
    scratch = tmp_path / ".gti" / "staging" / "thing" / "scratch"
    scratch.mkdir(parents=True)
    (scratch / "checkpoint").write_text("large")
    assert run_stage(tmp_path)[0] is True
    assert not list((tmp_path / ".gti" / "staging").iterdir())


def test_an_error_before_the_commit_leaves_no_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(commit, "write_json", full)
    with pytest.raises(OSError, match="no room"):
        run_stage(tmp_path)
    assert not list((tmp_path / ".gti" / "staging").iterdir()) and not (tmp_path / "thing.txt").exists()


def test_an_interrupt_while_the_staging_folder_is_removed_is_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, calls = shutil.rmtree, []

    def interrupted(path: Path, **options: bool) -> None:
        calls.append(path)
        remove(path, **options)
        if len(calls) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Workspace(tmp_path).stage("c", "thing", ["thing.txt"], options={}) as run:
        run.path("thing.txt").write_text("one")
        monkeypatch.setattr(shutil, "rmtree", interrupted)
    assert (tmp_path / "thing.txt").read_text() == "one" and (tmp_path / "thing.json").is_file()


def test_a_stage_that_cannot_be_opened_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(workspace, "write_json", full)
    with pytest.raises(OSError, match="no room"):
        run_stage(tmp_path)
    assert not list((tmp_path / ".gti" / "staging").iterdir())


def test_who_reads_after_a_kill_in_the_middle_of_the_move_sees_the_new_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stage(tmp_path, "a", "b")
    original = Path.replace

    def replace_once(self: Path, target: Path) -> Path:
        if self.name == "b":
            raise SystemExit
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace_once)
    with pytest.raises(SystemExit):
        _stage(tmp_path, "a", "b", "c")
    monkeypatch.undo()
    assert (tmp_path / ".gti" / "staging" / "thing" / "COMMIT.json").is_file()
    # A stage checks what it starts from before it takes the lock.
    assert Workspace(tmp_path).require("thing", "c").options == {"outputs": ["a", "b", "c"]}


def test_a_commit_is_not_carried_out_while_another_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_stage(tmp_path)
    monkeypatch.setattr(commit, "roll_forward", killed)
    with pytest.raises(SystemExit):
        run_stage(tmp_path, "two", force=True)
    monkeypatch.undo()
    monkeypatch.setattr(lock, "PATIENCE", 0.2)
    with FileLock(tmp_path / ".gti" / "lock"):
        assert Workspace(tmp_path).manifest("thing") is not None
        assert (tmp_path / "thing.txt").read_text() == "one"
    monkeypatch.setenv("RANK", "1")  # the first process of a launch does it
    Workspace(tmp_path)
    assert (tmp_path / "thing.txt").read_text() == "one"
    monkeypatch.setenv("RANK", "0")
    Workspace(tmp_path)
    assert (tmp_path / "thing.txt").read_text() == "two"
