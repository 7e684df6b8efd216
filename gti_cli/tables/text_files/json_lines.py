"""Read JSONL files: one JSON object in each line.

pyarrow reads them fast. It refuses a file in which one field is here a list and there a text, even if nobody uses this
field; such a file is read by Python, line by line, and the field becomes a column that only its users are refused.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError, list_names
from gti_cli.tables.headers import clean_name, clean_names
from gti_cli.tables.text_files.csv_files import NUMERIC
from gti_cli.tables.text_files.json_columns import JsonColumn
from gti_cli.tables.text_files.streams import UTF8_MARK, Opener, binary_stream, encoding_fault, opener
from gti_cli.workspace.remarks import remark

if TYPE_CHECKING:
    import pyarrow as pa

_START = 1 << 20  # bytes from which the columns are found
_ROWS = 1 << 14  # rows that Python holds at a time
_NULL_LINE = re.compile(rb"[\r\n][ \t]*n")
_DEEPEST = 4000  # brackets in a line up to which pyarrow reads it; its stack takes more than ten times as many
_HALF = "write the whole character, or leave it out"
_WHOLE = "write one whole object per line"


def read_json_lines(
    path: Path | str, *, open_file: Opener | None = None, numeric: Collection[str] = NUMERIC
) -> pa.Table:
    """Read a JSONL file; the names of its columns are cleaned (see `headers`).

    Texts stay as they are written, also where they look like dates. A column with values of different kinds has a
    stand-in (see `gti_cli.tables.faults`).

    Args:
        path: The file, compressed or not; error lines name it.
        open_file: Opens the file anew each time it is called; None: from ``path``.
        numeric: Columns in which texts that look like times are read as times.

    Raises:
        InputError: When the file cannot be read.
    """
    import pyarrow as pa

    open_file = open_file or opener(path)
    try:
        table = (_read_by_python if _ends_pyarrow(open_file) else _read_by_pyarrow)(path, open_file, numeric)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):  # the last one from a field's name
        table = _read_by_python(path, open_file, numeric)
    except (OSError, EOFError, zlib.error) as cause:
        raise _damaged(path, cause) from cause
    return table.rename_columns(clean_names(table.column_names, path))


def _ends_pyarrow(open_file: Opener) -> bool:
    """Return whether a file may end the process in pyarrow (26.0): by a line ``null``, or by very deep brackets."""
    before = b"\n"  # what stands before the piece, as far as it matters: the end of a line
    with open_file() as stream:
        while piece := stream.read(_START):
            piece = before + piece.removeprefix(UTF8_MARK)
            if _NULL_LINE.search(piece) or _most_brackets(piece) > _DEEPEST:
                return True
            blank = piece[len(piece.rstrip(b" \t\r\n")) :]
            before = b"\n" if b"\n" in blank or b"\r" in blank else b""
    return False


def _most_brackets(piece: bytes) -> int:
    """Count the opening brackets of the line that has most of them: no line can be nested deeper than that."""
    import numpy as np

    total = piece.count(b"[") + piece.count(b"{")
    if total <= _DEEPEST:
        return total
    letters = np.frombuffer(piece, dtype=np.uint8)
    lines = np.append(0, np.flatnonzero(letters == ord("\n")))
    opening = (letters == ord("[")) | (letters == ord("{"))
    return int(np.add.reduceat(opening, lines, dtype=np.int64).max())


def _damaged(path: Path | str, cause: Exception) -> InputError:
    return InputError(
        f"cannot be read as jsonl: {str(cause).splitlines()[0]}",
        where=str(path),
        remedy="the file is damaged, truncated or of another kind: write it again",
    )


def _read_by_pyarrow(_: Path | str, open_file: Opener, numeric: Collection[str]) -> pa.Table:
    """Read a file whose columns hold one kind of value each."""
    import pyarrow as pa
    from pyarrow import json as pa_json

    with open_file() as stream:
        start = stream.read(_START)
        is_whole = not stream.read(1)
    mark = len(UTF8_MARK) if start.startswith(UTF8_MARK) else 0

    def parse(texts: dict[str, pa.DataType]) -> pa.Table:
        """Read the file with these columns as text."""
        options = pa_json.ParseOptions(explicit_schema=pa.schema(texts) if texts else None)
        if is_whole:
            return pa_json.read_json(pa.BufferReader(start[mark:]), parse_options=options)
        with open_file() as stream:
            stream.read(mark)
            return pa_json.read_json(stream, parse_options=options)

    # pyarrow guesses types, and a text that looks like a time becomes one. Which columns that would hit is seen in the
    # first lines, so that the file is parsed once.
    lines = start[mark:] if is_whole else start[mark : start.rfind(b"\n") + 1]
    first = pa_json.read_json(pa.BufferReader(lines)) if lines.strip() else None
    texts = _misread_texts(first.schema, numeric) if first is not None else {}
    table = first if is_whole and first is not None and not texts else parse(texts)
    # Columns that are given to pyarrow come first in its table, so the order of the file is noted before.
    order = [*(first.column_names if first is not None else ()), *table.column_names]
    if later := _misread_texts(table.schema, numeric):  # columns that the first lines lack
        table = parse({**texts, **later})
    return table.select(list(dict.fromkeys(order)))


def _misread_texts(schema: pa.Schema, numeric: Collection[str]) -> dict[str, pa.DataType]:
    """Return the columns of texts that pyarrow took for times, with the types that they should have."""
    types = {field.name: _as_text(field.type) for field in schema if clean_name(field.name) not in numeric}
    return {name: kind for name, kind in types.items() if kind is not None}


def _as_text(kind: pa.DataType) -> pa.DataType | None:
    """Return the type with texts in place of times, also inside of lists; None where there are no times."""
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.string()
    inner = _as_text(kind.value_type) if pa.types.is_list(kind) else None
    return None if inner is None else pa.list_(inner)


def _read_by_python(path: Path | str, open_file: Opener, numeric: Collection[str]) -> pa.Table:
    """Read a file line by line; columns that hold different kinds of values become stand-ins."""
    import pyarrow as pa

    columns: dict[str, JsonColumn] = {}
    total = 0
    objects = _objects(path, open_file)
    while rows := list(islice(objects, _ROWS)):
        lines = [line for line, _ in rows]
        for name in dict.fromkeys(name for _, row in rows for name in row):
            columns.setdefault(name, JsonColumn(total))
        for name, column in columns.items():
            column.extend(lines, [row.get(name) for _, row in rows])
        total += len(rows)
    if not columns:
        raise InputError("the table has no rows", where=str(path), remedy="give a table with at least one row")
    finished = {
        name: column.finish(name, total, path, times=clean_name(name) in numeric) for name, column in columns.items()
    }
    faulty = [f"{name!r} (line {column.line:,}: {column.fault})" for name, column in columns.items() if column.fault]
    if faulty:
        remark(path, f"columns that hold different kinds of values are left out: {list_names(faulty, 3)}")
    return pa.table(
        [values for _, values in finished.values()], schema=pa.schema([field for field, _ in finished.values()])
    )


def _objects(path: Path | str, open_file: Opener) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of each line that is not empty, and its object.

    Raises:
        InputError: When a line is no object, or the file is not UTF-8.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_unique)  # json.loads would make one for each line
    with binary_stream(open_file) as stream:
        is_first = True
        for number, raw in enumerate(stream, start=1):
            try:
                line = (raw.removeprefix(UTF8_MARK) if number == 1 else raw).decode("utf-8").strip()
            except UnicodeDecodeError as cause:
                raise encoding_fault(path, open_file) or cause from None
            if not line:
                continue
            where = f"{path}, line {number:,}"
            if is_first and line.startswith("["):
                raise InputError(
                    "cannot be read as jsonl: this is a JSON array", where=where, remedy="write one object per line"
                )
            is_first = False
            try:
                row = decoder.decode(line)
            except ValueError as cause:
                problem = f"cannot be read as jsonl: {cause.args[0].split(': line')[0].removesuffix(' at')}"
                raise InputError(problem, where=where, remedy=_WHOLE) from cause
            except RecursionError as cause:
                raise InputError("brackets are nested too deep", where=where, remedy=_WHOLE) from cause
            if not isinstance(row, dict):
                raise InputError("cannot be read as jsonl: no object", where=where, remedy="write one object per line")
            if "\\u" in line and not _is_writable("".join(row)):
                raise InputError("a field's name holds half a character", where=where, remedy=_HALF)
            yield number, row


def _is_writable(text: str) -> bool:
    """Return whether a text can be written as UTF-8: half a character (one surrogate alone) cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unique(entries: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its fields, and refuse one that has a field twice."""
    row = dict(entries)
    if len(row) < len(entries):
        names = [name for name, _ in entries]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {repeated!r} stands twice in one object")
    return row
