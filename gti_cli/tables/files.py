"""Table files parsed by their ending, and refused in one line where what came out is not what the file says."""

from __future__ import annotations

import csv as plain_csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError, examples
from gti_cli.tables.faults import check_header, explain
from gti_cli.workspace.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET = (".parquet", ".pq")
_NUMBERS = ("timestamp", "relevance")


def read(path: Path | str, columns: Sequence[str] = (), *, skip: Sequence[str] = ()) -> pa.Table:
    """Read a ``.parquet``, ``.csv`` or ``.jsonl`` (``.json``) table and check that it has rows and ``columns``.

    Columns in ``skip`` are not loaded from Parquet, where that is possible.

    Raises:
        InputError: no such file, an unknown ending, a broken file, a column missing or there twice, no rows.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file", where=str(path), remedy="check the path")
    if path.is_dir():
        raise InputError(
            "this is a folder, not a table", where=str(path), remedy="give a .parquet, .csv or .jsonl file"
        )
    table = parse(path, skip)
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise InputError(
            f"column {examples(missing)} is missing (it has {', '.join(table.column_names)})",
            where=str(path),
            remedy="add the column or rename yours",
        )
    if table.num_rows == 0:
        raise InputError("the table has no rows", where=str(path), remedy="give a table with at least one row")
    return table


def column_names(path: Path | str, table: pa.Table) -> list[str]:
    """The columns of the file that `read` gave as ``table``, those skipped included."""
    if Path(path).suffix.lower() not in PARQUET:
        return list(table.column_names)
    import pyarrow.parquet as pq

    return list(pq.read_schema(path).names)


def parse(path: Path, skip: Sequence[str]) -> pa.Table:
    """The table of a ``.parquet``, ``.csv`` or ``.jsonl`` file; columns in ``skip`` are not loaded from Parquet.

    Raises:
        InputError: an unknown ending, a broken file, a column that is there twice.
    """
    table = _by_ending(path, skip)
    _check_names(table.column_names, path)
    return table


def _check_names(names: Sequence[str], path: Path) -> None:
    double = [name for name, times in Counter(names).items() if times > 1]
    if double:
        raise InputError(
            f"column {examples(double)} is there more than once",
            where=str(path),
            remedy="rename or drop all but one of them",
        )


def _by_ending(path: Path, skip: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    ending = path.suffix.lower()
    try:
        if ending in PARQUET:
            import pyarrow.parquet as pq

            names = pq.read_schema(path).names
            _check_names(names, path)  # before pyarrow's own error, which comes where columns are chosen
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

    # Ids and brands such as 007 are text: only the columns that are numbers by contract may become numbers.
    text = {name: pa.string() for name in _header(path) if name not in _NUMBERS}
    options = csv.ConvertOptions(column_types=text, strings_can_be_null=True, null_values=[""])
    table = csv.read_csv(path, convert_options=options, parse_options=csv.ParseOptions(newlines_in_values=True))
    check_header(table.column_names, path)
    _check_quotes(table, path)
    return table


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return next(plain_csv.reader(file), [])


def _check_quotes(table: pa.Table, path: Path) -> None:
    """Refuse rows that a quote which is never closed has swallowed into the text of one row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    width, broken = table.num_columns, None
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not pa.types.is_string(column.type):
            continue
        multiline = pc.indices_nonzero(pc.fill_null(pc.match_substring(column, "\n"), False))
        for row, value in zip(multiline.to_pylist(), column.take(multiline).to_pylist(), strict=True):
            lines = value.splitlines()[1:]
            if not any(line.count(",") >= width - 1 for line in lines):
                continue
            # Prose has commas too, but puts a space behind them: such lines are rows only if the quotes do not match.
            packed = any(line.count(",") - line.count(", ") >= width - 1 for line in lines)
            if not (width > 1 and packed):
                broken = _quotes_do_not_match(path) if broken is None else broken
            if (width > 1 and packed) or broken:
                raise InputError(
                    "a quote that is not closed swallows the rows behind it",
                    where=f"{path}, column {name!r}, row {row + 1:,}",
                    remedy='close the quote, or write a quote inside a text twice (""); if the text really holds such '
                    "lines, save the table as .parquet or .jsonl",
                )


def _quotes_do_not_match(path: Path) -> bool:
    most = plain_csv.field_size_limit(1 << 30)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for _ in plain_csv.reader(file, strict=True):
                pass
    except plain_csv.Error:
        return True
    finally:
        plain_csv.field_size_limit(most)
    return False


def write(path: Path | str, columns: Mapping[str, Any] | pa.Table) -> None:
    """Write columns (lists, arrays) or a table as Parquet; the same content gives the same bytes.

    Written to a temporary name and renamed, so that a reader never sees half a file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    table = columns if isinstance(columns, pa.Table) else pa.table(dict(columns))
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(None), temporary, compression="zstd")
