"""Read single rows of a matrix in a safetensors file by their byte offsets.

A safetensors file is the length of a header, the header in JSON, and raw little-endian numbers, so the offset of each
row of a (V, d) matrix follows from the header. The safetensors package is not used here, for three reasons: it returns
bfloat16 only through torch, it maps files so that their pages count as memory of the process, and its errors do not say
how a file is damaged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
METADATA = "__metadata__"
_REPAIR = "the file is damaged or truncated: copy or save it again"
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_LARGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors package
_PIECE = 1 << 22  # bytes read at a time


class TokenMatrix(Protocol):
    """A (V, d) matrix of which single rows can be read: a `TensorPlace`, or a `loaded_matrix.LoadedMatrix`."""

    @property
    def name(self) -> str:
        """The tensor's name."""

    @property
    def file(self) -> Path:
        """The file or folder that it comes from, for error lines."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(V, d)."""

    def rows(self, ids: npt.NDArray[np.int64] | Sequence[int]) -> npt.NDArray[np.float32]:
        """Return the rows ``ids`` (n,) as (n, d) float32."""

    def blocks(
        self, ids: npt.NDArray[np.int64], rows: int = 8192
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Yield the rows ``ids`` (n,) in blocks of at most ``rows``, as pairs of ids (m,) and rows (m, d) float32."""


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor lies in a safetensors file.

    Attributes:
        name: The tensor's name in the file.
        file: Path of the file.
        dtype: Number format as safetensors names it, such as ``"BF16"``.
        shape: (V, d) for a matrix.
        start: Offset of the tensor's first byte in the file.
        size: Number of bytes.
    """

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int

    def raw(self, first: int = 0, last: int | None = None) -> Iterator[bytes]:
        """Yield the tensor's stored bytes in pieces of at most 4 MiB.

        Args:
            first: Offset of the first byte in the tensor.
            last: Offset behind the last byte in the tensor (None: the tensor's end).

        Raises:
            InputError: When the file ends early.
        """
        left = (self.size if last is None else last) - first
        with self.file.open("rb") as file:
            file.seek(self.start + first)
            while left:
                data = file.read(min(left, _PIECE))
                if not data:
                    raise InputError(f"ends inside tensor {self.name!r}", where=str(self.file), remedy=_REPAIR)
                left -= len(data)
                yield data

    def holds(self, pieces: Iterable[bytes | npt.NDArray[np.uint8]]) -> bool:
        """Return whether the stored bytes are those of ``pieces``, one piece after the other.

        Args:
            pieces: The expected bytes; memory grows with the longest piece.
        """
        position = 0
        with self.file.open("rb") as file:
            file.seek(self.start)
            for piece in pieces:
                expected = np.frombuffer(piece, dtype=np.uint8)
                stored = np.empty(len(expected), dtype=np.uint8)
                position += len(expected)
                if position > self.size or file.readinto(stored.data) != len(stored):
                    return False
                # Eight bytes at a time where the length allows it.
                wide = np.uint64 if len(expected) % 8 == 0 else np.uint8
                if not np.array_equal(stored.view(wide), expected.view(wide)):
                    return False
        return position == self.size

    def rows(self, ids: npt.NDArray[np.int64] | Sequence[int]) -> npt.NDArray[np.float32]:
        """Read rows of this (V, d) matrix as float32, which is exact for float16, bfloat16 and float32.

        Args:
            ids: (n,) row numbers in any order; they may repeat.

        Returns:
            (n, d) float32.

        Raises:
            InputError: When the tensor is not of a supported floating-point format, or the file ends early.
            IndexError: When an id lies outside 0 … V - 1.
        """
        ids = np.asarray(ids, dtype=np.int64)
        height, width = self.shape
        if ids.size and (ids.min() < 0 or ids.max() >= height):
            raise IndexError(f"row ids must lie in 0 … {height - 1}")
        self._check_dtype()
        # Each row is read once and in ascending order, so that neighbouring rows come with one read.
        distinct, inverse = np.unique(ids, return_inverse=True)
        out = np.empty((len(distinct), width), dtype=np.float32)
        with self.file.open("rb") as file:
            for first, last in _runs(distinct, max(1, _PIECE // max(1, self.row_bytes))):
                file.seek(self.start + int(distinct[first]) * self.row_bytes)
                size = (last - first) * self.row_bytes
                data = file.read(size)
                if len(data) != size:
                    raise InputError(f"ends inside tensor {self.name!r}", where=str(self.file), remedy=_REPAIR)
                out[first:last] = _as_float32(data, self.dtype).reshape(-1, width)
        return out if np.array_equal(distinct, ids) else out[inverse]

    def blocks(
        self, ids: npt.NDArray[np.int64], rows: int = 8192
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Yield the rows ``ids`` (n,) in blocks of at most ``rows``, as pairs of ids (m,) and rows (m, d) float32."""
        for start in range(0, len(ids), rows):
            part = ids[start : start + rows]
            yield part, self.rows(part)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of a matrix, or of one number of a vector."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * _BYTES[self.dtype]

    def _check_dtype(self) -> None:
        if self.dtype not in _BYTES:
            raise InputError(
                f"tensor {self.name!r} holds {self.dtype} numbers (a quantized checkpoint)",
                where=str(self.file),
                remedy="give the checkpoint before quantization (float32, float16 or bfloat16)",
            )


def _runs(ids: npt.NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges [first, last) of ``ids`` in which each id is the one before plus one, at most ``most`` long."""
    edges = np.flatnonzero(np.diff(ids) != 1) + 1
    for first, last in zip([0, *edges.tolist()], [*edges.tolist(), len(ids)], strict=True):
        for start in range(first, last, most):
            yield start, min(start + most, last)


def _as_float32(data: bytes, dtype: str) -> npt.NDArray[np.float32]:
    if dtype == "BF16":  # numpy has no bfloat16: its bits are the upper half of a float32's
        return (np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    numpy_dtype = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[dtype]
    return np.frombuffer(data, dtype=numpy_dtype).astype(np.float32)


def read_header(file: Path) -> dict[str, TensorPlace]:
    """Read where the tensors of one safetensors file lie, by name.

    Raises:
        InputError: When the file is missing, is not a safetensors file, or is shorter than its header says.
    """
    return _read_header(file)[0]


def read_metadata(file: Path) -> dict[str, str]:
    """Read the free texts in a safetensors file's header, such as ``{"format": "pt"}``.

    Raises:
        InputError: As `read_header`.
    """
    return _read_header(file)[1]


def encode_header(entries: Mapping[str, Any]) -> bytes:
    """Encode the beginning of a safetensors file: the header's length, then the header padded to 8 bytes.

    The bytes are those that the safetensors package writes; its own writer takes whole tensors only.

    Args:
        entries: For each tensor its ``dtype``, ``shape`` and ``data_offsets``; free texts under `METADATA`.
    """
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _read_header(file: Path) -> tuple[dict[str, TensorPlace], dict[str, str]]:
    where = str(file)
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(_LARGEST_HEADER, size - 8):
                raise InputError("is not a safetensors file, or is truncated", where=where, remedy=_REPAIR)
            header = json.loads(stream.read(length))
        metadata = {str(key): str(value) for key, value in header.pop(METADATA, {}).items()}
        places = {name: _place(name, entry, file, 8 + length, size) for name, entry in header.items()}
    except OSError as cause:
        raise InputError(f"cannot be read: {cause.strerror or cause}", where=where, remedy="check the path") from cause
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as cause:
        raise InputError("has no readable safetensors header", where=where, remedy=_REPAIR) from cause
    return places, metadata


def _place(name: str, entry: dict[str, Any], file: Path, base: int, size: int) -> TensorPlace:
    start, end = (int(offset) for offset in entry["data_offsets"])
    shape = tuple(int(length) for length in entry["shape"])
    dtype = str(entry["dtype"])
    if base + end > size:
        raise InputError(
            f"is truncated: {size:,} bytes, and tensor {name!r} ends at byte {base + end:,}",
            where=str(file),
            remedy=_REPAIR,
        )
    if (
        start < 0
        or end < start
        or min(shape, default=0) < 0
        or (dtype in _BYTES and end - start != _BYTES[dtype] * math.prod(shape))
    ):
        raise InputError(f"the size of tensor {name!r} does not fit its shape", where=str(file), remedy=_REPAIR)
    return TensorPlace(name, file, dtype, shape, base + start, end - start)


def read_tensors(folder: Path) -> dict[str, TensorPlace]:
    """Read where the tensors of a checkpoint folder lie, by name.

    The weights may be one file or shards with an index. Where both are there, the one file counts, as in transformers.

    Raises:
        InputError: When the folder has no safetensors, or a shard is missing or damaged.
    """
    if (folder / SINGLE_FILE).is_file():
        return read_header(folder / SINGLE_FILE)
    index = folder / INDEX_FILE
    if index.is_file():
        return _read_sharded(folder, index)
    pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if pickled:
        raise InputError(
            f"holds pickled weights ({pickled[0]}) and no {SINGLE_FILE}; gti never unpickles",
            where=str(folder),
            remedy="convert it with model.save_pretrained(folder)",
        )
    raise InputError(
        f"no {SINGLE_FILE} in this folder", where=str(folder), remedy="give a Hugging Face checkpoint folder"
    )


def _read_sharded(folder: Path, index: Path) -> dict[str, TensorPlace]:
    try:
        names = json.loads(index.read_text("utf-8"))["weight_map"]
        shards = sorted({str(shard) for shard in names.values()})
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as cause:
        raise InputError("has no readable weight_map", where=str(index), remedy=_REPAIR) from cause
    tensors: dict[str, TensorPlace] = {}
    for shard in shards:
        if Path(shard).name != shard:
            raise InputError(f"names a shard outside the folder: {shard!r}", where=str(index), remedy=_REPAIR)
        tensors.update(read_header(folder / shard))
    missing = [name for name in names if name not in tensors]
    if missing:
        raise InputError(f"lists tensor {missing[0]!r}, which no shard holds", where=str(index), remedy=_REPAIR)
    return tensors
