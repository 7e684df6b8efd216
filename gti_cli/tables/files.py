"""Read tables from Parquet, CSV and JSONL files, and write Parquet files.

Errors are one line that a user can act on. A CSV in which an unclosed quote swallows rows is refused too, although its
parser accepts it.
"""

from __future__ import annotations

import csv as plain_csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError, list_some
from gti_cli.tables.faults import check_header, explain
from gti_cli.workspace.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET = (".parquet", ".pq")
_NUMERIC_COLUMNS = ("timestamp", "relevance")  # all other columns of a CSV are text


def read(path: Path | str, columns: Sequence[str] = (), *, skip: Sequence[str] = ()) -> pa.Table:
    """Read a ``.parquet``, ``.csv`` or ``.jsonl`` table.

    Args:
        path: The file; its ending says its kind.
        columns: Columns that the table must have.
        skip: Columns that are not loaded, if the file is Parquet.

    Raises:
        InputError: When the file does not exist, is a folder, is damaged or has an unknown ending.
        InputError: When a column is missing or occurs twice.
        InputError: When the table has no rows.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file", where=str(path), remedy="check the path")
    if path.is_dir():
        raise InputError(
            "this is a folder, not a table", where=str(path), remedy="give a .parquet, .csv or .jsonl file"
        )
    table = _parse(path, skip)
    _refuse_repeated(table.column_names, path)
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise InputError(
            f"column {list_some(missing)} is missing (the table has {', '.join(table.column_names)})",
            where=str(path),
            remedy="add the column or rename yours",
        )
    if table.num_rows == 0:
        raise InputError("the table has no rows", where=str(path), remedy="give a table with at least one row")
    return table


def column_names(path: Path | str, table: pa.Table) -> list[str]:
    """Return the names of all columns of a file, including those that `read` skipped.

    Args:
        path: The file.
        table: What `read` returned for it.
    """
    if Path(path).suffix.lower() not in PARQUET:
        return list(table.column_names)
    import pyarrow.parquet as pq

    return list(pq.read_schema(path).names)


def _refuse_repeated(names: Sequence[str], path: Path) -> None:
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise InputError(
            f"column {list_some(repeated)} occurs more than once",
            where=str(path),
            remedy="rename or drop all but one of them",
        )


def _parse(path: Path, skip: Sequence[str]) -> pa.Table:
    """Parse a file by its ending; columns in ``skip`` are not loaded from Parquet."""
    import pyarrow as pa

    ending = path.suffix.lower()
    try:
        if ending in PARQUET:
            import pyarrow.parquet as pq

            names = pq.read_schema(path).names
            _refuse_repeated(names, path)  # before pyarrow fails on choosing columns, with a message of its own
            return pq.read_table(path, columns=[name for name in names if name not in skip] if skip else None)
        if ending == ".csv":
            return _read_csv(path)
        if ending in (".jsonl", ".json", ".ndjson"):
            from pyarrow import json as pa_json

            return pa_json.read_json(path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError) as cause:
        message = str(cause).splitlines()[0]
        if ending not in PARQUET:
            raise explain(path, message) from cause
        raise InputError(
            f"cannot be read as {ending[1:]}: {message}",
            where=str(path),
            remedy="the file is damaged, truncated or of another kind: write it again",
        ) from cause
    raise InputError(
        f"the ending {ending!r} is not known", where=str(path), remedy="give a .parquet, .csv or .jsonl file"
    )


def _read_csv(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    # Ids and brands such as 007 are text, so pyarrow must not guess types from the values.
    text = {name: pa.string() for name in _header(path) if name not in _NUMERIC_COLUMNS}
    options = csv.ConvertOptions(column_types=text, strings_can_be_null=True, null_values=[""])
    table = csv.read_csv(path, convert_options=options, parse_options=csv.ParseOptions(newlines_in_values=True))
    check_header(table.column_names, path)
    _refuse_unclosed_quotes(table, path)
    return table


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return next(plain_csv.reader(file), [])


def _refuse_unclosed_quotes(table: pa.Table, path: Path) -> None:
    """Refuse a CSV in which an unclosed quote has made the following rows part of one cell's text.

    Such a cell has line breaks, and one of its later lines has as many commas as a row. A description of several lines
    may look the same; it is accepted if spaces follow its commas and all quotes of the file match.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    width = table.num_columns
    mismatched: bool | None = None  # whether the file's quotes do not match; found out when first needed
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not pa.types.is_string(column.type):
            continue
        multiline = pc.indices_nonzero(pc.fill_null(pc.match_substring(column, "\n"), False))
        for row, value in zip(multiline.to_pylist(), column.take(multiline).to_pylist(), strict=True):
            lines = value.splitlines()[1:]
            if not any(line.count(",") >= width - 1 for line in lines):
                continue
            is_row = width > 1 and any(line.count(",") - line.count(", ") >= width - 1 for line in lines)
            if not is_row and mismatched is None:
                mismatched = _has_mismatched_quotes(path)
            if is_row or mismatched:
                raise InputError(
                    "a quote is never closed, so the rows after it became part of this cell",
                    where=f"{path}, column {name!r}, row {row + 1:,}",
                    remedy='close the quote, or write a quote inside a text twice (""); if the text really holds such '
                    "lines, save the table as .parquet or .jsonl",
                )


def _has_mismatched_quotes(path: Path) -> bool:
    """Tell whether Python's strict CSV reader, which is slower than pyarrow's, refuses the file."""
    limit = plain_csv.field_size_limit(1 << 30)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for _ in plain_csv.reader(file, strict=True):
                pass
    except plain_csv.Error:
        return True
    finally:
        plain_csv.field_size_limit(limit)
    return False


def write(path: Path | str, columns: Mapping[str, Any] | pa.Table) -> None:
    """Write a Parquet file; the same content gives the same bytes, and a reader never sees half a file.

    Args:
        path: Where the file goes.
        columns: The columns by name, as lists or arrays, or a table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    table = columns if isinstance(columns, pa.Table) else pa.table(dict(columns))
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(None), temporary, compression="zstd")
