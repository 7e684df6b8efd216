"""Agreement between the processes of one launch by torchrun.

All processes run the same stage with the same arguments. The first one (rank 0) holds the workspace's lock, decides
whether there is anything to do and whether interrupted work is resumed, and writes its decision to a file. The others
wait for that file. Only the outputs of the first process are kept.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from gti_cli.errors import InputError
from gti_cli.workspace.files import make_folder, replacing

T = TypeVar("T")

# Seconds that a process waits for the first decision of the first process, which may have to digest large files first.
TIMEOUT = 600.0
# While the first process makes something for the others, it shows every `SIGN_OF_LIFE` seconds that it is at work. The
# others wait for as long as that goes on, and give up after `SILENCE` seconds without it.
SIGN_OF_LIFE = 5.0
SILENCE = 600.0
# Seconds that a process waits for what the first process works on alone, such as the tuning of a baseline.
PATIENCE = 24 * 3600.0
# Folders of a workspace's state: what the first process has decided, and what the other processes write.
DECISIONS, FOLLOWERS = "launch", "followers"


def rank() -> int:
    """Return the number of this process in its launch; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """Return the number of processes in this launch; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def share(batches: Sequence[Sequence[T]], *, lockstep: bool = False) -> list[Sequence[T]]:
    """Return the batches that this process works on; over all processes, each batch occurs once.

    Args:
        batches: The same list on every process.
        lockstep: Give every process the same number of batches, by adding an empty one where needed. Sharded models
            need this, because their processes must call the model equally often.
    """
    own = list(batches[rank() :: world()])
    most = -(-len(batches) // world())  # rounded up
    return [*own, *([()] * (most - len(own)))] if lockstep else own


def _launch_name() -> str:
    """Return a name that all processes of this launch derive alike, and no other launch."""
    parts = [os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")]
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE"):
        parts.append(str(os.getppid()))  # on one machine, the launcher is the parent of all processes
    parts.append(os.environ.get("TORCHELASTIC_RESTART_COUNT", ""))
    return "-".join("".join(c if c.isalnum() else "_" for c in part) for part in parts if part)


def announce(state: Path, stage: str, decision: dict[str, Any]) -> None:
    """Write the decision of the first process for the others, and delete decisions of earlier launches.

    Args:
        state: The folder for internal files of the workspace.
        stage: The name of the stage's staging folder.
        decision: A JSON object.
    """
    if world() == 1:
        return
    folder = state / DECISIONS / _launch_name()
    if _is_alone(state):
        for old in (state / DECISIONS).glob("*"):
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / f"{stage}.json") as temporary:
        temporary.write_text(json.dumps(decision), "utf-8")


def _is_alone(state: Path) -> bool:
    """Whether no other command makes an artifact in this workspace (see `gti_cli.workspace.lock.making`)."""
    return len(list((state / "running").glob("*.json"))) <= 1


def remove_leftovers(state: Path) -> None:
    """Remove what the processes of a launch that was killed have left in the folder ``state``.

    Only a launch of one process does so: of several, some may still be finishing the stage before.
    """
    if world() == 1 and _is_alone(state):
        for folder in (DECISIONS, FOLLOWERS):
            shutil.rmtree(state / folder, ignore_errors=True)


def await_decision(state: Path, stage: str) -> dict[str, Any]:
    """Wait for the decision of the first process.

    Args:
        state: The folder for internal files of the workspace.
        stage: The name of the stage's staging folder.

    Returns:
        The JSON object that the first process passed to `announce`.

    Raises:
        InputError: When no decision arrives within `TIMEOUT` seconds, or within `PATIENCE` seconds where the first
            process has announced another one before: it then still works on the stage before. This is rare, since
            torchrun ends all processes when one fails.
    """
    path = state / DECISIONS / _launch_name() / f"{stage}.json"
    started = time.monotonic()
    while not path.is_file():
        patience = PATIENCE if path.parent.is_dir() else TIMEOUT
        if time.monotonic() > started + patience:
            raise InputError(
                f"the first process did not open the stage within {patience:.0f} s",
                where=str(path),
                remedy="give all processes the same --workspace, on a file system that they share",
            )
        time.sleep(0.05)
    decision: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return decision


def made_by_first(path: Path, load: Callable[[], T | None], make: Callable[[], T]) -> T:
    """Load what is in a file; what is not there is made by the first process, and the others load it then.

    If each process made it, each would take as long, and all might hold something else: on a GPU, training is not
    reproducible to the bit. The others wait for as long as the first process shows that it is at work.

    Args:
        path: The file, in a folder that all processes share. Its folder is made where it does not exist.
        load: Returns what is in the file; None where it is not there or not whole.
        make: Makes it, and writes the file. No process may see a part of it (`gti_cli.workspace.files.replacing`).

    Raises:
        InputError: When the first process has not shown for `SILENCE` seconds that it is at work. This is rare, since
            torchrun ends all processes when one fails.
    """
    sign = path.with_name(f".{path.name}.at-work")
    # Only changes of the sign are counted, not its age: the clocks of two machines may differ.
    last, deadline = _changed_at(sign), time.monotonic() + SILENCE
    while (stored := load()) is None:
        if rank() == 0:
            with one_at_a_time(path):
                if (stored := load()) is not None:  # another command has made it meanwhile
                    return stored
                with _showing_life(sign):
                    return make()
        if (now := _changed_at(sign)) != last:
            last, deadline = now, time.monotonic() + SILENCE
        elif time.monotonic() > deadline:
            raise InputError(
                f"the first process has stopped making a file that this one needs, or has not begun ({SILENCE:.0f} s "
                "without a sign of life)",
                where=str(path),
                remedy="see what it has printed, give all processes the same --workspace, on a file system that they "
                "share, and run it again",
            )
        time.sleep(0.1)
    return stored


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Keep other commands out that are about to make the same file: they wait, and can load it then.

    Args:
        path: The file. Its folder is made where it does not exist.
    """
    from filelock import FileLock

    make_folder(path.parent)
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


@contextmanager
def _showing_life(sign: Path) -> Iterator[None]:
    """Touch a file every `SIGN_OF_LIFE` seconds inside the block."""
    finished = threading.Event()

    def show() -> None:
        """Touch the file until the block ends. A failure costs the others patience, and nothing else."""
        while True:
            with suppress(OSError):
                sign.touch()
            if finished.wait(SIGN_OF_LIFE):
                return

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
        sign.unlink(missing_ok=True)


def _changed_at(path: Path) -> int | None:
    """When a file was last changed, in nanoseconds; None where it does not exist."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
