"""Embeddings that need not fit in memory: a float32 matrix in a safetensors file, written and read by blocks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import encode_header, read_header

Vectors = npt.NDArray[np.float32]

TENSOR = "embeddings"


class VectorRows(Protocol):
    """A (N, d) float32 matrix of which some rows are read at a time: an array, or a `VectorFile`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, d)."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return the rows of a slice, or of an array of row numbers, as an array (n, d)."""


class VectorFile:
    """The tensor ``embeddings`` (N, d) float32 of a safetensors file, of which rows are read when they are indexed.

    Rows are read and not memory-mapped, because the pages of a mapped file count as memory of the process.

    Args:
        path: The file.

    Raises:
        InputError: When the file is missing or damaged, or holds no such tensor.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            place = read_header(path).get(TENSOR)
        except InputError:
            place = None
        if place is None or place.dtype != "F32" or len(place.shape) != 2:
            raise InputError(
                "cannot be read as embeddings", where=str(path), remedy="run 'gti build-ids' again with --force"
            )
        self.shape: tuple[int, ...] = place.shape
        self._start = place.start
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
        vectors = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        for position, count in _runs(rows):
            vectors[position : position + count] = self._read(int(rows[position]), count)
        return vectors

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def also_at(self, path: Path) -> VectorFile:
        """Give the file a second name by a hard link, or copy it where the file system has no links."""
        try:
            os.link(self.path, path)
        except OSError:
            shutil.copyfile(self.path, path)
        return VectorFile(path)

    def _read(self, row: int, count: int) -> Vectors:
        """Read ``count`` neighbouring rows from ``row`` on; positioned reads allow several threads at once."""
        vectors = np.empty((count, self.shape[1]), dtype=np.float32)
        view = memoryview(vectors).cast("B") if vectors.size else memoryview(b"")  # type: ignore[arg-type]
        offset = self._start + 4 * row * self.shape[1]
        while len(view):  # one call may return fewer bytes than it was given room for, and never more than 2 GB
            size = os.preadv(self._file.fileno(), [view], offset)
            if not size:
                raise InputError("the file became shorter while it was read", where=str(self.path))
            view, offset = view[size:], offset + size
        return vectors

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def write_vectors(path: Path, shape: tuple[int, int], blocks: Iterable[Vectors]) -> None:
    """Write blocks of rows, one after the other, as the tensor ``embeddings``.

    The bytes are those that the safetensors package would write for the whole matrix.

    Args:
        path: File to write.
        shape: (N, d) of the whole matrix.
        blocks: Arrays (n, d) float32 whose lengths sum to N.

    Raises:
        ValueError: When the blocks do not have N rows in all.
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
    """Write rows of the tensor ``embeddings`` in any order, also from several processes that open the same file.

    Args:
        path: File to write. It is created if it does not exist; rows that it holds already stay.
        shape: (N, d) of the whole matrix, the same in all processes.
    """

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        header = _header(shape)
        self._width, self._start = shape[1], len(header)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self._file, len(header) + 4 * shape[0] * shape[1])  # an existing file of this size keeps its rows
        os.pwrite(self._file, header, 0)

    def put(self, rows: Sequence[int], block: Vectors) -> None:
        """Write the vectors ``block`` (n, d) to the row numbers ``rows`` (n,)."""
        data = np.ascontiguousarray(block, dtype="<f4")
        for row, vector in zip(rows, data, strict=True):
            os.pwrite(self._file, vector.tobytes(), self._start + 4 * row * self._width)

    def flush(self) -> None:
        """Wait until all rows so far are on the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _header(shape: tuple[int, int]) -> bytes:
    entry = {"dtype": "F32", "shape": list(shape), "data_offsets": [0, 4 * shape[0] * shape[1]]}
    return encode_header({TENSOR: entry})


def _runs(rows: npt.NDArray[np.integer[Any]]) -> Iterator[tuple[int, int]]:
    """Yield (position, count) of the stretches of ``rows`` in which each number is the one before plus one."""
    if not len(rows):
        return
    ends = np.flatnonzero(np.diff(rows) != 1) + 1
    starts = np.concatenate([[0], ends])
    yield from zip(starts.tolist(), np.diff(np.concatenate([starts, [len(rows)]])).tolist(), strict=True)
