"""Strings that are used like a list and kept in Arrow's memory or on disk: no Python object for each row."""

from __future__ import annotations

import abc
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE = 1 << 13  # strings that are Python objects at a time while one iterates
MOST_IN_MEMORY = 1 << 26  # bytes of gathered strings; more are put on disk


class Strings(Sequence[str], abc.ABC):
    """N strings, used like a list of them."""

    @abc.abstractmethod
    def array(self, start: int, stop: int) -> Any:
        """Some neighbouring strings as an Arrow array of type string.

        Args:
            start: The first row.
            stop: The row behind the last one.
        """

    @overload
    def __getitem__(self, key: int) -> str: ...

    @overload
    def __getitem__(self, key: slice) -> list[str]: ...

    def __getitem__(self, key: int | slice) -> str | list[str]:
        if not isinstance(key, slice):
            row = range(len(self))[key]
            return str(self.array(row, row + 1)[0].as_py())
        start, stop, step = key.indices(len(self))
        if step != 1:
            return [self[row] for row in range(start, stop, step)]
        texts: list[str] = self.array(start, max(stop, start)).to_pylist()
        return texts

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self[start : start + _AT_ONCE]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of a list


class StringColumn(Strings):
    """Strings in a fifth of the memory that a list of them takes.

    Attributes:
        column: The strings; none is missing.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        """Take a column of type string without missing values."""
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    def array(self, start: int, stop: int) -> Any:
        """Some neighbouring strings; they are not copied."""
        return self.column.slice(start, stop - start)


class StringsOnDisk(Strings):
    """Strings in a temporary file, which ends with the process; memory holds 8 bytes for each.

    Attributes:
        ends: (N,) int64, the byte behind each string.
    """

    def __init__(self, file: IO[bytes], ends: npt.NDArray[np.int64]) -> None:
        """Take a file of strings in UTF-8, one behind the other, and where each ends."""
        self._file, self.ends = file, ends

    def __len__(self) -> int:
        return len(self.ends)

    def array(self, start: int, stop: int) -> Any:
        """Some neighbouring strings, read from the file."""
        import pyarrow as pa

        offsets = np.zeros(stop - start + 1, dtype=np.int64)
        first = int(self.ends[start - 1]) if start else 0
        offsets[1:] = self.ends[start:stop] - first
        self._file.seek(first)
        content = self._file.read(int(offsets[-1]))
        buffers = [pa.py_buffer(offsets), pa.py_buffer(content)]
        return pa.LargeStringArray.from_buffers(stop - start, *buffers).cast(pa.string())


def gather_strings(parts: Iterable[Sequence[str]], folder: Path | None = None) -> Strings:
    """Gather strings that come in parts, of which one is made of Python objects at a time.

    Args:
        parts: Lists of strings.
        folder: Where the temporary file lies if they are more than `MOST_IN_MEMORY`; None: where the system keeps such.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    held: list[pa.Array] = []
    file: IO[bytes] | None = None
    ends: list[npt.NDArray[np.int64]] = []
    size = 0
    for part in filter(len, parts):
        array = pa.array(part, pa.string())
        ends.append(size + np.cumsum(pc.binary_length(array).to_numpy(), dtype=np.int64))
        size = int(ends[-1][-1])
        if file is None and size > MOST_IN_MEMORY:
            file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed with the object that is returned
            for earlier in held:
                _append(file, earlier.to_pylist(), folder)
            held = []
        if file is None:
            held.append(array)
        else:
            _append(file, part, folder)
    if file is None:
        return StringColumn(pa.chunked_array(held, pa.string()))
    return StringsOnDisk(file, np.concatenate(ends))


def _append(file: IO[bytes], texts: Sequence[str], folder: Path | None) -> None:
    """Write texts at the end of a file without a name; an error names its folder."""
    try:
        file.write("".join(texts).encode())
        file.flush()
    except OSError as cause:
        raise OSError(cause.errno, cause.strerror, str(folder or tempfile.gettempdir())) from cause


def string_array(values: Sequence[str]) -> Any:
    """The strings as an Arrow array of type string, in chunks where they are many; a `StringColumn` is not copied.

    Args:
        values: The strings.
    """
    import pyarrow as pa

    if isinstance(values, StringColumn):
        return values.column
    if isinstance(values, StringsOnDisk):
        starts = range(0, len(values), _AT_ONCE)
        return pa.chunked_array([values.array(start, min(start + _AT_ONCE, len(values))) for start in starts])
    return pa.array(values, pa.string())
