"""Where the vectors of a text model are kept while it encodes: in memory, or in a file from which a run can go on."""

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
_LOOK_EVERY = 0.1  # seconds, while other processes are at work


class Store(Protocol):
    """Takes the batches of N texts in any order."""

    def open(self, texts: int, batches: int) -> None:
        """Say how many there are, before anything else."""

    def has(self, batch: int) -> bool:
        """Whether this batch is there already."""

    def put(self, batch: int, rows: Sequence[int], found: Vectors) -> None:
        """Keep the vectors (n, d) of a batch, which belong to ``rows``."""

    def finish(self) -> None:
        """All batches of this process are there."""

    def vectors(self) -> VectorRows:
        """All N vectors (N, d)."""


class InMemory:
    """An array."""

    def open(self, texts: int, batches: int) -> None:
        """See `Store`."""
        self._texts = texts
        self._found: Vectors | None = None

    def has(self, batch: int) -> bool:
        """Nothing is there when it starts."""
        return False

    def put(self, batch: int, rows: Sequence[int], found: Vectors) -> None:
        """See `Store`."""
        if self._found is None:
            self._found = np.empty((self._texts, found.shape[1]), dtype=np.float32)
        self._found[rows] = found

    def finish(self) -> None:
        """Nothing is left to do."""

    def vectors(self) -> Vectors:
        """See `Store`."""
        assert self._found is not None  # a catalogue has at least one item
        return self._found


class OnDisk:
    """A file of vectors, and one with a byte for each batch that is written for good.

    Args:
        folder: where they lie; shared by the processes of a launch.
        request: names texts and batches, so that vectors of others are never taken for these.
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
        self._at_start = self._read() if self._path.is_file() else bytes(batches)

    def has(self, batch: int) -> bool:
        """See `Store`."""
        return self._at_start[batch] == 1

    def put(self, batch: int, rows: Sequence[int], found: Vectors) -> None:
        """See `Store`."""
        if self._writer is None:
            self._writer = ScatteredWriter(self._path, (self._texts, found.shape[1]))
        self._writer.put(rows, found)
        self._pending.append(batch)
        if len(self._pending) >= _SAVE_EVERY:
            self._save()

    def finish(self) -> None:
        """Save; the first process waits for the others (torchrun ends all of them when one fails)."""
        self._save()
        while processes.rank() == 0 and 0 in self._read():
            time.sleep(_LOOK_EVERY)
        os.close(self._marks)
        if self._writer is not None:
            self._writer.close()

    def vectors(self) -> VectorFile:
        """See `Store`."""
        return VectorFile(self._path)

    def _save(self) -> None:
        if self._writer is not None:
            self._writer.flush()  # the vectors first: a mark says that they are there
        for batch in self._pending:
            os.pwrite(self._marks, b"\x01", batch)
        self._pending.clear()

    def _read(self) -> bytes:
        return os.pread(self._marks, self._batches, 0)
