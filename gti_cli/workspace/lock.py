"""Locks of a workspace: several commands may run in it at once where none writes what another one reads or writes.

Two kinds of lock files lie below ``.gti``:

- ``lock`` is held for moments, while a finished stage moves its outputs into place (`writing`).
- ``running/NAME.lock`` is held by the command that makes the artifact NAME, for as long as it works (`making`).
  ``running/NAME.json`` beside it lists the artifacts that this command reads.

The operating system releases the locks of a killed process.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError
from gti_cli.workspace.commit import finish_commits
from gti_cli.workspace.files import make_folder, write_json

if TYPE_CHECKING:
    from filelock import BaseFileLock

PATIENCE = 60.0  # seconds to wait for another process that moves outputs into place


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Keep other writers of the workspace ``root`` out inside the block; the folder is made where it is missing.

    What a killed process had committed is completed first.

    Raises:
        InputError: When another process keeps writing for `PATIENCE` seconds.
        InputError: When the folder cannot be written.
    """
    lock = _lock(root, "lock")
    if not _acquired(lock, root, PATIENCE):
        raise InputError(
            "another gti process is writing in this workspace",
            where=str(root),
            remedy="wait for it, or use another --workspace",
        )
    try:
        finish_commits(root)
        for _ in _running(root, besides=""):
            pass  # removes what killed processes left there
        yield
    finally:
        lock.release()


@contextmanager
def making(root: Path, name: str, upstream: Collection[str]) -> Iterator[None]:
    """Make an artifact of the workspace ``root`` inside the block.

    Args:
        root: The workspace.
        name: Name of the artifact.
        upstream: Names of the artifacts that it is made from.

    Raises:
        InputError: When another process makes this artifact, reads it, or makes one of ``upstream``.
        InputError: When the folder cannot be written.
    """
    running = root / ".gti" / "running"
    file_name = _file_name(name)
    own = _lock(root, f"running/{file_name}.lock")
    with writing(root):  # Two processes that begin at the same time see each other.
        if not _acquired(own, root, 0):
            raise _busy(root, f"making {name!r}")
        try:
            for other, read in _running(root, besides=file_name):
                if other in upstream:
                    raise _busy(root, f"making {other!r}, which this command reads")
                if name in read:
                    raise _busy(root, f"reading {name!r} (it makes {other!r})")
            write_json(running / f"{file_name}.json", {"name": name, "upstream": sorted(upstream)})
        except BaseException:
            own.release()
            raise
    try:
        yield
    finally:
        (running / f"{file_name}.json").unlink(missing_ok=True)
        own.release()


def _running(root: Path, besides: str) -> Iterator[tuple[str, list[str]]]:
    """Name and upstream of each artifact that another process makes; what killed processes left is removed."""
    for path in sorted((root / ".gti" / "running").glob("*.json")):
        if path.stem == besides:
            continue
        lock = _lock(root, f"running/{path.stem}.lock")
        if _acquired(lock, root, 0):
            path.unlink(missing_ok=True)
            lock.release()
            continue
        try:
            entry: dict[str, Any] = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            continue  # it has ended in this moment
        yield entry["name"], entry["upstream"]


def _file_name(name: str) -> str:
    return name.replace("/", "--")


def _busy(root: Path, doing: str) -> InputError:
    return InputError(
        f"another gti process is {doing}", where=str(root), remedy="wait for it, or use another --name or --workspace"
    )


def _lock(root: Path, name: str) -> BaseFileLock:
    """A lock file below ``.gti``, not acquired; its folder is made."""
    from filelock import FileLock

    path = root / ".gti" / name
    try:
        make_folder(path.parent)
    except OSError as cause:
        raise InputError(f"cannot write in the workspace: {cause.strerror}", where=str(root)) from cause
    return FileLock(path)


def _acquired(lock: BaseFileLock, root: Path, patience: float) -> bool:
    """Acquire a lock; returns False where another process holds it for longer than ``patience`` seconds."""
    from filelock import Timeout

    try:
        lock.acquire(timeout=patience)
    except Timeout:
        return False
    except OSError as cause:  # the folder exists and is read-only
        problem = f"cannot write in the workspace: {cause.strerror or cause}"
        raise InputError(problem, where=str(root), remedy="make it writable") from cause
    return True
