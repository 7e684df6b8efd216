"""Embeddings that need not fit in memory: a matrix in a safetensors file, written and read block by block."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError

Vectors = npt.NDArray[np.float32]

TENSOR = "embeddings"


class VectorRows(Protocol):
    """N vectors (N, d) float32 of which a few are asked for at a time: an array, or a `VectorFile`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, d)."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, key: Any, /) -> Any:
        """Rows by a slice or an array of row numbers, as an array (n, d)."""


class VectorFile:
    """The tensor ``embeddings`` (N, d) float32 of a safetensors file, read when it is asked for.

    Reads instead of mapping: pages of a mapped file count as memory of the process, whole files in the end.

    Raises:
        InputError: the file is missing, damaged, or holds no such tensor.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as stream:
                (size,) = struct.unpack("<Q", stream.read(8))
                entry = json.loads(stream.read(min(size, 1 << 20)))[TENSOR]
            self.shape: tuple[int, ...] = tuple(entry["shape"])
            self._start = 8 + size + entry["data_offsets"][0]
            whole = self._start + 4 * self.shape[0] * self.shape[1] <= path.stat().st_size and entry["dtype"] == "F32"
        except (OSError, ValueError, KeyError, struct.error, IndexError):
            whole = False
        if not whole:
            raise InputError(
                "cannot be read as embeddings", where=str(path), remedy="run 'gti build-ids' again with --force"
            )
        self._file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any, /) -> Vectors:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self._read(start, max(stop - start, 0))
            key = np.arange(start, stop, step)
        rows = np.asarray(key)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        if rows.ndim == 0:
            row: Vectors = self._read(int(rows) % len(self), 1)[0]
            return row
        found = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        for place, count in _runs(rows):
            found[place : place + count] = self._read(int(rows[place]), count)
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def also_at(self, path: Path) -> VectorFile:
        """The same vectors under a second name: no second copy where the file system can do that."""
        try:
            os.link(self.path, path)
        except OSError:
            shutil.copyfile(self.path, path)
        return VectorFile(path)

    def _read(self, row: int, count: int) -> Vectors:
        found = np.empty((count, self.shape[1]), dtype=np.float32)
        view = memoryview(found).cast("B") if found.size else memoryview(b"")  # type: ignore[arg-type]
        offset = self._start + 4 * row * self.shape[1]
        while len(view):  # a read may come short, by 2 GB at the latest
            got = os.preadv(self._file.fileno(), [view], offset)
            if not got:
                raise InputError("the file became shorter while it was read", where=str(self.path))
            view, offset = view[got:], offset + got
        return found

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def write_vectors(path: Path, shape: tuple[int, int], blocks: Iterable[Vectors]) -> None:
    """Write blocks of rows, one behind the other, as the tensor ``embeddings`` of ``shape`` (N, d).

    The bytes are those that safetensors itself would write.
    """
    header = _header(shape)
    rows = 0
    with path.open("wb") as stream:
        stream.write(header)
        for block in blocks:
            np.ascontiguousarray(block, dtype="<f4").tofile(stream)
            rows += len(block)
    if rows != shape[0]:
        raise ValueError(f"{rows} rows were written where {shape[0]} were announced")


class ScatteredWriter:
    """Writes rows of a matrix in any order, also from several processes at once; all of them open the same ``path``.

    Args:
        path: made if it is not there; what it holds already stays. shape: (N, d), the same for all.
    """

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        header = _header(shape)
        self._width, self._start = shape[1], len(header)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self._file, len(header) + 4 * shape[0] * shape[1])  # to its own size, if it was there
        os.pwrite(self._file, header, 0)

    def put(self, rows: Sequence[int], block: Vectors) -> None:
        """Write ``block`` (n, d) to ``rows`` (n)."""
        data = np.ascontiguousarray(block, dtype="<f4")
        for row, vector in zip(rows, data, strict=True):
            os.pwrite(self._file, vector.tobytes(), self._start + 4 * row * self._width)

    def flush(self) -> None:
        """Have it on the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        """No more rows."""
        os.close(self._file)


def _header(shape: tuple[int, int]) -> bytes:
    entry = {"dtype": "F32", "shape": list(shape), "data_offsets": [0, 4 * shape[0] * shape[1]]}
    header = json.dumps({TENSOR: entry}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header


def _runs(rows: npt.NDArray[np.integer[Any]]) -> Iterator[tuple[int, int]]:
    """(place, count) of the stretches of ``rows`` in which each number is the one before plus one."""
    if not len(rows):
        return
    ends = np.flatnonzero(np.diff(rows) != 1) + 1
    starts = np.concatenate([[0], ends])
    yield from zip(starts.tolist(), np.diff(np.concatenate([starts, [len(rows)]])).tolist(), strict=True)
