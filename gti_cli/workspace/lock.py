"""The lock that lets one process at a time write in a workspace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gti_cli.errors import InputError


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Hold the lock of the workspace ``root`` inside the block; the folder is made where it is missing.

    The operating system releases the lock of a killed process.

    Raises:
        InputError: When another process writes in this workspace.
        InputError: When the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    state = root / ".gti"
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise InputError(f"cannot write in the workspace: {cause.strerror}", where=str(root)) from cause
    lock = FileLock(state / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            "another gti process is writing in this workspace",
            where=str(root),
            remedy="wait for it, or use another --workspace",
        ) from None
    except OSError as cause:  # the folder exists and is read-only
        problem = f"cannot write in the workspace: {cause.strerror or cause}"
        raise InputError(problem, where=str(root), remedy="make it writable") from cause
    try:
        yield
    finally:
        lock.release()
