"""Commands that may run at once in a workspace, those that may not, and clear errors where nobody can write."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.workspace import lock
from tests.support.launch import preloaded_processes
from tests.support.stages import run_stage


def _hold(root: str, ready: Any, leave: Any) -> None:
    with lock.making(Path(root), "thing", ["upstream"]):
        ready.set()
        leave.wait(30)


def test_two_commands_at_once_where_neither_writes_what_the_other_reads(tmp_path: Path) -> None:
    context = preloaded_processes()
    ready, leave = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), ready, leave))
    other.start()
    assert ready.wait(30)
    with pytest.raises(InputError, match="another gti process is making 'thing'"):
        run_stage(tmp_path)
    with (
        pytest.raises(InputError, match="is making 'thing', which this command reads"),
        lock.making(tmp_path, "evaluation/thing", ["thing"]),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"is reading 'upstream' \(it makes 'thing'\)"),
        lock.making(tmp_path, "upstream", []),
    ):
        pass
    with lock.making(tmp_path, "another", ["upstream"]), lock.writing(tmp_path):
        assert len(list((tmp_path / ".gti" / "running").glob("*.json"))) == 2
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    assert run_stage(tmp_path)[0] is False  # a killed process does not block
    with lock.making(tmp_path, "upstream", []):
        assert [path.stem for path in (tmp_path / ".gti" / "running").glob("*.json")] == ["upstream"]


def test_what_a_killed_process_was_making_is_forgotten(tmp_path: Path) -> None:
    running = tmp_path / ".gti" / "running"
    running.mkdir(parents=True)
    (running / "old.json").write_text('{"name": "old", "upstream": ["new"]}')
    with lock.making(tmp_path, "new", ["old"]):
        assert [path.name for path in running.glob("*.json")] == ["new.json"]


def test_the_locks_are_released_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0)
    with pytest.raises(KeyError), lock.writing(tmp_path / "new"):
        with pytest.raises(InputError, match="another gti process"), lock.writing(tmp_path / "new"):
            pass
        raise KeyError
    for _ in range(2):
        with pytest.raises(KeyError), lock.making(tmp_path / "new", "thing", []):
            raise KeyError
    assert not list((tmp_path / "new" / ".gti" / "running").glob("*.json"))


def test_unwritable_workspace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        run_stage(tmp_path / "file" / "w")


def test_read_only_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")  # root, as in a container, may write everywhere

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(InputError, match="cannot write in the workspace: Permission denied"):
        run_stage(tmp_path)


def test_ctrl_c_at_the_first_folder_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = Path.mkdir

    def interrupted(path: Path, *more: Any, **named: Any) -> None:
        mkdir(path, *more, **named)
        if path.name == ".gti":
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "mkdir", interrupted)
    (tmp_path / "mine").mkdir()
    for root in (tmp_path / "mine", tmp_path / "new" / "ws"):
        with pytest.raises(KeyboardInterrupt), lock.writing(root):
            pass
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]
