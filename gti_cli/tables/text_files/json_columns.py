"""A column of a JSONL file that is read line by line: its values must be of one kind."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.tables.faults import faulty_column

if TYPE_CHECKING:
    import pyarrow as pa

_KINDS = {str: "text", bool: "truth value", int: "number", float: "number", dict: "nested object"}
_LIST = "list"  # a list without values: it fits lists of every kind


class JsonColumn:
    """The values of one field, gathered part by part.

    Args:
        absent: The number of rows before the field first occurs.

    Attributes:
        fault: Why the column cannot be used; "" while it can.
        line: The line of the fault, or of the first value, from 1.
    """

    def __init__(self, absent: int) -> None:
        self.fault = ""
        self.line = 0
        self._kind = ""
        self._absent = absent
        self._parts: list[pa.Array] = []

    def extend(self, lines: Sequence[int], values: Sequence[Any]) -> None:
        """Append values, unless the column is faulty.

        Args:
            lines: The line of each value.
            values: The values; None where the field is missing.
        """
        if self.fault:
            return
        self._check_kinds(lines, values)
        if not self.fault:
            part = _array(values)
            if part is not None:
                self._parts.append(part)
                return
            # The first value with which the values before it make no array.
            row = bisect_left(range(len(values)), True, key=lambda last: _array(values[: last + 1]) is None)
            self._set_fault(
                lines[row], f"a {_kind(values[row])} that differs inside from those before, or is no Unicode"
            )

    def finish(
        self, name: str, rows: int, path: Path | str, *, times: bool
    ) -> tuple[pa.Field, pa.Array | pa.ChunkedArray]:
        """Return the column.

        Args:
            name: Its name.
            rows: The number of rows of the table.
            path: The file, for the error of a faulty column.
            times: Read texts as times, if all are.

        Returns:
            Its field and its values, or the stand-in for a faulty column.
        """
        import pyarrow as pa

        if not self.fault:
            parts = [pa.nulls(self._absent), *self._parts]
            try:
                tables = [pa.table({name: part}) for part in parts]
                values = pa.concat_tables(tables, promote_options="permissive").column(name)
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
                self._set_fault(self.line, "objects or lists with values of different kinds")
        if self.fault:
            return faulty_column(name, rows, path, self.line, self.fault)
        if times and pa.types.is_string(values.type):
            values = _as_times(values)
        return pa.field(name, values.type), values

    def _set_fault(self, line: int, problem: str) -> None:
        self.fault, self.line = problem, line
        self._parts.clear()

    def _check_kinds(self, lines: Sequence[int], values: Sequence[Any]) -> None:
        """Set the fault if a value is of another kind than the values before it."""
        types = set(map(type, values)) - {type(None)}
        if len(types) == 1 and _KINDS.get(next(iter(types))) == self._kind:
            return  # what almost every part is
        for line, value in zip(lines, values, strict=True):
            if value is None:
                continue
            kind = _kind(value)
            if " and " in kind:
                self._set_fault(line, f"a {kind}")
                return
            if not self._kind:
                self._kind, self.line = kind, line
            elif self._kind == _LIST and kind.startswith(_LIST):
                self._kind = kind
            elif kind != self._kind and not (kind == _LIST and self._kind.startswith(_LIST)):
                self._set_fault(line, f"a {kind} where line {self.line:,} has a {self._kind}")
                return


def _kind(value: Any) -> str:
    """Return the kind of a JSON value in words; for a list, with the kinds of its values."""
    if not isinstance(value, list):
        return _KINDS[type(value)]
    inner = sorted({_LIST if type(entry) is list else _KINDS[type(entry)] for entry in value if entry is not None})
    return f"{_LIST} of {' and '.join(f'{kind}s' for kind in inner)}" if inner else _LIST


def _array(values: Sequence[Any]) -> pa.Array | None:
    """Make an array of values; None where they do not fit together."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except OverflowError:  # a whole number beyond 64 bits
        try:
            return pa.array([None if value is None else float(value) for value in values])
        except (OverflowError, TypeError):
            return None
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeEncodeError):
        return None


def _as_times(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read texts as times as pyarrow's own reader of JSON does; texts that are no times stay."""
    import pyarrow as pa

    try:
        return texts.cast(pa.timestamp("s"))
    except pa.ArrowInvalid:
        return texts
