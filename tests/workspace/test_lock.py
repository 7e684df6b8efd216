"""One writer at a time in a workspace, and clear errors where nobody can write."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.workspace import lock
from tests.support.stages import run_stage


def _hold(root: str, ready: Any, leave: Any) -> None:
    with lock.writing(Path(root)):
        ready.set()
        leave.wait(30)


def test_second_writer_is_refused_and_a_killed_one_does_not_block(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), ready, leave))
    other.start()
    assert ready.wait(30)
    with pytest.raises(InputError, match="another gti process"):
        run_stage(tmp_path)
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    assert run_stage(tmp_path)[0] is False


def test_the_lock_is_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock.writing(tmp_path / "new"):
        with pytest.raises(InputError, match="another gti process"), lock.writing(tmp_path / "new"):
            pass
        raise KeyError
    with lock.writing(tmp_path / "new"):
        pass


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
