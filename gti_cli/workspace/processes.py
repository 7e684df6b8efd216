"""Several processes of one launch (torchrun): the first one decides and writes, the others follow.

All processes of a launch run the same stage on the same arguments. The first (rank 0) holds the workspace's lock,
decides whether there is anything to do and whether interrupted work is resumed, and announces it in a file; the others
wait for that file, share its scratch folder and write their own outputs where nobody looks.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from gti_cli.errors import InputError
from gti_cli.workspace.files import replacing

T = TypeVar("T")

PATIENCE = 600.0  # seconds that a process waits for the first one's decision (it may digest large files first)


def rank() -> int:
    """Number of this process in its launch; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """Number of processes in this launch; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def share(batches: Sequence[Sequence[T]], *, in_step: bool = False) -> list[Sequence[T]]:
    """This process's batches; ``in_step``: as many as every other process has, the last one perhaps empty."""
    mine = list(batches[rank() :: world()])
    most = -(-len(batches) // world())
    return [*mine, *([()] * (most - len(mine)))] if in_step else mine


def _launch() -> str:
    """A name that the processes of one launch share, and no other launch has."""
    parts = [os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")]
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE"):
        parts.append(str(os.getppid()))  # one machine: the launcher is everybody's parent
    parts.append(os.environ.get("TORCHELASTIC_RESTART_COUNT", ""))
    return "-".join("".join(c if c.isalnum() else "_" for c in part) for part in parts if part)


def announce(state: Path, stage: str, decision: dict[str, Any]) -> None:
    """Rank 0: tell the others of this launch what was decided; forgets what earlier launches were told."""
    if world() == 1:
        return
    folder = state / "launch" / _launch()
    for old in (state / "launch").glob("*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / f"{stage}.json") as temporary:
        temporary.write_text(json.dumps(decision), "utf-8")


def await_decision(state: Path, stage: str) -> dict[str, Any]:
    """Other ranks: wait for what rank 0 decided.

    Raises:
        InputError: it said nothing for `PATIENCE` seconds (torchrun ends the others when one fails, so this is rare).
    """
    path = state / "launch" / _launch() / f"{stage}.json"
    deadline = time.monotonic() + PATIENCE
    while not path.is_file():
        if time.monotonic() > deadline:
            raise InputError(
                f"the first process did not open the stage within {PATIENCE:.0f} s",
                where=str(path),
                remedy="give all processes the same --workspace, on a file system that they share",
            )
        time.sleep(0.05)
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found
