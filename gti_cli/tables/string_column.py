"""A column of strings that stays in Arrow's memory and is used like a list: no Python object for each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE = 1 << 13  # strings that are Python objects at a time while one iterates


class StringColumn(Sequence[str]):
    """N strings in a fifth of the memory that a list of them takes.

    Attributes:
        column: The strings; none is missing.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        """Take a column of type string without missing values."""
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, key: int) -> str: ...

    @overload
    def __getitem__(self, key: slice) -> list[str]: ...

    def __getitem__(self, key: int | slice) -> str | list[str]:
        if not isinstance(key, slice):
            return str(self.column[int(key)].as_py())
        start, stop, step = key.indices(len(self))
        if step != 1:
            return [self[row] for row in range(start, stop, step)]
        texts: list[str] = self.column.slice(start, max(stop - start, 0)).to_pylist()
        return texts

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self[start : start + _AT_ONCE]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of a list


def string_array(values: Sequence[str]) -> Any:
    """The strings as an Arrow array of type string; a `StringColumn` is not copied.

    Args:
        values: The strings.
    """
    import pyarrow as pa

    return values.column if isinstance(values, StringColumn) else pa.array(values, pa.string())
