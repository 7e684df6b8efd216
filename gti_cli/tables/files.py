"""Read tables from files of any place (see `gti_cli.tables.sources`), and write Parquet files.

Errors are one line that a user can act on. A CSV in which an unclosed quote swallows rows is refused too, although its
parser accepts it.
"""

from __future__ import annotations

import csv as plain_csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.errors import InputError, list_some
from gti_cli.tables.faults import check_header, explain
from gti_cli.tables.sources.compressed import decompressed
from gti_cli.tables.sources.location import TableLocation, locate
from gti_cli.tables.sources.renaming import numbers_from_text
from gti_cli.tables.sources.shards import ARROW, KINDS, PARQUET, Shard, join
from gti_cli.tables.sources.stored import blocks, open_arrow, stored_names, stored_rows
from gti_cli.workspace.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

_NUMERIC_COLUMNS = ("timestamp", "relevance")  # all other columns of a CSV are text


def read(path: Path | str, columns: Sequence[str] = (), *, skip: Sequence[str] = ()) -> pa.Table:
    """Read a table.

    Args:
        path: A ``.parquet``, ``.csv``, ``.tsv``, ``.jsonl`` or ``.arrow`` file, or whatever else `locate` takes.
        columns: Columns that the table must have.
        skip: Columns that are not loaded, if the files are Parquet or Arrow.

    Raises:
        InputError: When a file does not exist, is damaged or has an unknown ending.
        InputError: When a column is missing or occurs twice.
        InputError: When the table has no rows.
    """
    location = locate(path)
    table = _read_shards(location, [location.theirs(name) for name in skip])
    replaced: list[str] = []
    if location.renaming is not None:
        table, replaced = location.rename(table, _stored_names(location) or table.column_names)
        renamed = [name for name in _NUMERIC_COLUMNS if name in table.column_names and location.theirs(name) != name]
        table = numbers_from_text(table, renamed)
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        theirs = location.theirs(missing[0])
        named = f"column {theirs!r}, which --columns names for {missing[0]!r}," if theirs != missing[0] else ""
        raise InputError(
            f"{named or f'column {list_some(missing)}'} is missing (the table has {', '.join(table.column_names)})",
            where=location,
            remedy=f"add the column, or say which one it is: --columns {missing[0]}=NAME",
        )
    if table.num_rows == 0:
        raise InputError("the table has no rows", where=location, remedy="give a table with at least one row")
    if replaced:
        listed = ", ".join(f"{name!r} ({location.theirs(name)!r} is read for it)" for name in replaced)
        console.note(f"{location}: columns that give way because of --columns: {listed}")
    return table


def column_names(path: Path | str, table: pa.Table) -> list[str]:
    """Return the names of all columns of a table, including those that `read` skipped.

    Args:
        path: The table.
        table: What `read` returned for it.
    """
    location = locate(path)
    stored = _stored_names(location)
    return list(table.column_names) if stored is None else location.our_names(stored)


def column_blocks(path: Path | str, column: str, rows: int) -> Iterator[pa.Table]:
    """Read a column that `read` skipped, block by block.

    Args:
        path: The table; its files are Parquet or Arrow.
        column: The name of the column.
        rows: The largest number of rows of a block.

    Yields:
        Tables with that column alone, of which one is in memory at a time.
    """
    location = locate(path)
    for block in blocks(location.selection().pieces(stored_rows), location.theirs(column), rows):
        yield block.rename_columns([column])


def _stored_names(location: TableLocation) -> list[str] | None:
    """Return the names of the columns of Parquet or Arrow files; None for files that are read as a whole."""
    first = location.shards()[0]
    return stored_names(first) if first.by_columns else None


def _read_shards(location: TableLocation, skip: Sequence[str]) -> pa.Table:
    """Read the rows that the caller asked for from the files of a table; ``skip`` has the names that the files have."""
    shards = location.shards()
    parsed: dict[Shard, pa.Table] = {}  # files whose rows had to be counted, which for text means parsing them

    def count_rows(shard: Shard) -> int:
        """Count the rows of a file."""
        if shard.by_columns and len(shards) > 1:
            return stored_rows(shard)
        if shard not in parsed:
            parsed[shard] = _parse_shard(shard, skip)
        return int(parsed[shard].num_rows)

    pieces = location.selection().pieces(count_rows)
    tables = []
    for piece in pieces:
        table = parsed[piece.shard] if piece.shard in parsed else _parse_shard(piece.shard, skip)
        tables.append(table if piece.stop is None else table.slice(piece.start, piece.stop - piece.start))
    if not tables:
        raise InputError("no rows were asked for", where=location, remedy="ask for at least one row")
    location.remember(pieces, [table.num_rows for table in tables])
    return join(tables, [piece.shard for piece in pieces], location)


def _parse_shard(shard: Shard, skip: Sequence[str]) -> pa.Table:
    """Parse a file; the error for a faulty one names it as the caller knows it, and not where its copy lies."""
    with decompressed(shard) as path:
        try:
            table = _parse(path, skip if shard.by_columns else (), shard.delimiter)
            _refuse_repeated(table.column_names, path)
            return table
        except InputError as error:
            if error.where is None or not error.where.startswith(str(path)):
                raise
            where = shard.name + error.where[len(str(path)) :]
            raise InputError(error.problem, where=where, remedy=error.remedy) from error.__cause__


def _refuse_repeated(names: Sequence[str], path: Path) -> None:
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise InputError(
            f"column {list_some(repeated)} occurs more than once",
            where=str(path),
            remedy="rename or drop all but one of them",
        )


def _parse(path: Path, skip: Sequence[str], delimiter: str = "") -> pa.Table:
    """Parse a file by its ending; columns in ``skip`` are not loaded from Parquet and Arrow."""
    import pyarrow as pa

    ending = path.suffix.lower()
    try:
        if ending in PARQUET:
            import pyarrow.parquet as pq

            names = pq.read_schema(path).names
            _refuse_repeated(names, path)  # before pyarrow fails on choosing columns, with a message of its own
            return pq.read_table(path, columns=[name for name in names if name not in skip] if skip else None)
        if ending in ARROW:
            table = open_arrow(path)
            return table.select([n for n, name in enumerate(table.column_names) if name not in skip])
        if ending in (".csv", ".tsv"):
            return _read_csv(path, delimiter or ("\t" if ending == ".tsv" else ","))
        if ending in (".jsonl", ".json", ".ndjson"):
            from pyarrow import json as pa_json

            return pa_json.read_json(path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError) as cause:
        message = str(cause).splitlines()[0]
        if ending not in (*PARQUET, *ARROW):
            raise explain(path, message) from cause
        raise InputError(
            f"cannot be read as {ending[1:]}: {message}",
            where=str(path),
            remedy="the file is damaged, truncated or of another kind: write it again",
        ) from cause
    raise InputError(f"the ending {ending!r} is not known", where=str(path), remedy=KINDS)


def _read_csv(path: Path, delimiter: str = ",") -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    # Ids and brands such as 007 are text, so pyarrow must not guess types from the values.
    text = {name: pa.string() for name in _header(path, delimiter) if name not in _NUMERIC_COLUMNS}
    options = csv.ConvertOptions(column_types=text, strings_can_be_null=True, null_values=[""])
    parse_options = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    table = csv.read_csv(path, convert_options=options, parse_options=parse_options)
    if delimiter == ",":
        check_header(table.column_names, path)
    _refuse_unclosed_quotes(table, path, delimiter)
    return table


def _header(path: Path, delimiter: str) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return next(plain_csv.reader(file, delimiter=delimiter), [])


def _refuse_unclosed_quotes(table: pa.Table, path: Path, delimiter: str) -> None:
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
            if not any(line.count(delimiter) >= width - 1 for line in lines):
                continue
            is_row = width > 1 and any(
                line.count(delimiter) - line.count(f"{delimiter} ") >= width - 1 for line in lines
            )
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
