"""Store the vectors of a text model while it encodes: in memory, or in a file from which a run can resume."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gti_cli.tensors.vector_file import ScatteredWriter, VectorFile, VectorRows
from gti_cli.workspace import processes

Vectors = npt.NDArray[np.float32]

_SAVE_EVERY = 32  # batches
_POLL_SECONDS = 0.1  # between two looks at whether the other processes have finished


class Store(Protocol):
    """Takes the vectors of N texts, batch by batch, in any order."""

    def open(self, texts: int, batches: int) -> None:
        """Prepare for so many texts and batches; called before anything else."""

    def has(self, batch: int) -> bool:
        """Whether this batch was stored by an earlier run."""

    def put(self, batch: int, rows: Sequence[int], block: Vectors) -> None:
        """Store the vectors ``block`` (n, d) of a batch, which are the vectors of the texts ``rows`` (n)."""

    def finish(self) -> None:
        """Note that this process has stored all its batches."""

    def vectors(self) -> VectorRows:
        """All vectors (N, d), after `finish`."""


class InMemory:
    """A store in an array, for one process; nothing of it outlives the run."""

    def open(self, texts: int, batches: int) -> None:
        """See `Store`."""
        self._texts = texts
        self._vectors: Vectors | None = None  # Made with the first batch, which says how wide it is.

    def has(self, batch: int) -> bool:
        """See `Store`; there is no earlier run."""
        return False

    def put(self, batch: int, rows: Sequence[int], block: Vectors) -> None:
        """See `Store`."""
        if self._vectors is None:
            self._vectors = np.empty((self._texts, block.shape[1]), dtype=np.float32)
        self._vectors[rows] = block

    def finish(self) -> None:
        """See `Store`; there is nothing to do."""

    def vectors(self) -> Vectors:
        """See `Store`."""
        assert self._vectors is not None  # A catalogue has at least one item.
        return self._vectors


class OnDisk:
    """A store in two files, which several processes may fill together: the vectors, and one byte for each batch.

    The byte of a batch becomes 1 once its vectors are on the disk, so an interrupted run resumes with exactly the
    batches that lack it.

    Args:
        folder: Where the files are; shared by the processes of a launch.
        request: Digest of texts and batches. It names the files, so that vectors of another request are never used.
    """

    def __init__(self, folder: Path, request: str) -> None:
        self._path = folder / f"encoding-{request[:16]}.safetensors"
        self._marks_path = self._path.with_suffix(".done")
        self._writer: ScatteredWriter | None = None
        self._pending: list[int] = []

    def open(self, texts: int, batches: int) -> None:
        """See `Store`."""
        self._texts, self._batches = texts, batches
        self._marks = os.open(self._marks_path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self._marks, batches)
        # Marks without the file of vectors are worthless: a user may have deleted that file.
        self._at_start = self._read_marks() if self._path.is_file() else bytes(batches)

    def has(self, batch: int) -> bool:
        """See `Store`."""
        return self._at_start[batch] == 1

    def put(self, batch: int, rows: Sequence[int], block: Vectors) -> None:
        """See `Store`."""
        if self._writer is None:
            self._writer = ScatteredWriter(self._path, (self._texts, block.shape[1]))
        self._writer.put(rows, block)
        self._pending.append(batch)
        if len(self._pending) >= _SAVE_EVERY:
            self._save()

    def finish(self) -> None:
        """Save; the first process then waits for the others (torchrun ends all of them when one fails)."""
        self._save()
        while processes.rank() == 0 and 0 in self._read_marks():
            time.sleep(_POLL_SECONDS)
        os.close(self._marks)
        if self._writer is not None:
            self._writer.close()

    def vectors(self) -> VectorFile:
        """See `Store`."""
        return VectorFile(self._path)

    def _save(self) -> None:
        # The vectors go to the disk before their marks: a kill between the two costs work, never correctness.
        if self._writer is not None:
            self._writer.flush()
        for batch in self._pending:
            os.pwrite(self._marks, b"\x01", batch)
        self._pending.clear()

    def _read_marks(self) -> bytes:
        return os.pread(self._marks, self._batches, 0)
