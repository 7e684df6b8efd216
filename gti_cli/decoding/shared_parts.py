"""Work divided into parts: processes share them out, finished parts are files, and an interrupted run is resumed.

A part is a fixed set of prompts that does not depend on which process works on it. So the result is the same bytes with
one process or many, in one run or after a kill. Where a folder is given, each finished part is a file there.

`gti_cli.decoding.search_parts` and `gti_cli.decoding.candidate_scores` divide their prompts in this way.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from gti_cli import console
from gti_cli.errors import InputError
from gti_cli.workspace import processes
from gti_cli.workspace.files import replacing

PartArrays = dict[str, np.ndarray]  # What was found for the prompts of a part.
PATIENCE = 3600.0  # Seconds to wait for a part that another process works on.


def share_parts(
    parts: Sequence[Sequence[int]],
    work: Callable[[Sequence[int]], PartArrays],
    *,
    names: Collection[str],
    lengths: Sequence[int],
    folder: Path | None,
    description: str,
    unit: str,
) -> tuple[dict[int, PartArrays], int]:
    """Do the work of all parts.

    Args:
        parts: The numbers of the prompts of each part.
        work: Returns the arrays of a part.
        names: Names of these arrays.
        lengths: Rows of the arrays of each part. A stored part with other names or lengths is incomplete.
        folder: Where finished parts are stored. Parts that are there already are not worked on again, and the processes
            of this launch divide the parts among themselves. None: this process works on all, in memory.
        description: Text before the progress bar.
        unit: What the progress bar counts, such as ``users``.

    Returns:
        The arrays of each part by its number (on the first process all; on other ranks only their own), and the number
        of prompts that this process worked on itself, in this run.

    Raises:
        InputError: When another process has not finished its part `PATIENCE` seconds after it was needed.
    """
    numbered = list(enumerate(parts))
    own_parts = numbered if folder is None else numbered[processes.rank() :: processes.world()]
    results: dict[int, PartArrays] = {}
    searched = 0
    if folder is not None and own_parts:  # A process without work may come when the folder is gone again.
        folder.mkdir(parents=True, exist_ok=True)
    with console.progress(description, sum(len(part) for _, part in own_parts), unit) as advance:
        for number, part in own_parts:
            arrays = None if folder is None else _read(_part_path(folder, number), names, lengths[number])
            if arrays is None:
                arrays = work(part)
                searched += len(part)
                if folder is not None:
                    _write(_part_path(folder, number), arrays)
            results[number] = arrays
            advance(len(part))
    if folder is not None and processes.rank() == 0:
        for number, _ in numbered:
            if number not in results:
                results[number] = _wait_for(_part_path(folder, number), names, lengths[number])
    return results, searched


def _part_path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:06d}.npz"


def _write(path: Path, arrays: PartArrays) -> None:
    with replacing(path, writer=str(processes.rank())) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _read(path: Path, names: Collection[str], length: int) -> PartArrays | None:
    """Read a part; None where the file is missing or incomplete (a full disk, a lost machine)."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    is_whole = set(arrays) == set(names) and all(len(array) == length for array in arrays.values())
    return arrays if is_whole else None


def _wait_for(path: Path, names: Collection[str], length: int) -> PartArrays:
    """Read a part that another process writes, as soon as it is there."""
    deadline = time.monotonic() + PATIENCE
    while True:
        arrays = _read(path, names, length)
        if arrays is not None:
            return arrays
        if time.monotonic() > deadline:
            raise InputError(
                f"another process of this launch has not finished its part of the search within {PATIENCE:,.0f} s",
                where=str(path),
                remedy="let all processes share the folder, and run it again: finished parts are reused",
            )
        time.sleep(0.05)
