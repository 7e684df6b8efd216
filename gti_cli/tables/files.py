"""Read tables from files of any place (see `gti_cli.tables.sources`), and write Parquet files.

Errors are one line that a user can act on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console, quick_start
from gti_cli.errors import InputError, list_names, list_some
from gti_cli.tables.headers import clean_name, clean_names
from gti_cli.tables.sources.compressed import decompressed
from gti_cli.tables.sources.location import TableLocation, locate
from gti_cli.tables.sources.oversized import refuse_oversized, refuse_oversized_table
from gti_cli.tables.sources.shards import ARROW, KINDS, PARQUET, Shard, join
from gti_cli.tables.sources.stored import blocks, open_arrow, stored_names, stored_rows
from gti_cli.tables.text_files.csv_files import NUMERIC, read_csv
from gti_cli.tables.text_files.json_lines import read_json_lines
from gti_cli.tables.text_files.streams import opener
from gti_cli.tables.text_types import is_text
from gti_cli.workspace.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa


def read(
    path: Path | str,
    columns: Sequence[str] = (),
    *,
    skip: Sequence[str] = (),
    only: Sequence[str] | None = None,
    encoded: Sequence[str] = (),
) -> pa.Table:
    """Read a table.

    Args:
        path: A ``.parquet``, ``.csv``, ``.tsv``, ``.jsonl`` or ``.arrow`` file, or whatever else `locate` takes.
        columns: Columns that the table must have.
        skip: Columns that are not loaded, if the files are Parquet or Arrow.
        only: The columns that are loaded, if the files are Parquet or Arrow, in place of ``skip``; None: all others.
        encoded: Columns that may come as dictionaries: their strings in Parquet files do, so that a text that many rows
            share is made once.

    Raises:
        InputError: When a file does not exist, is damaged or has an unknown ending.
        InputError: When a column is missing or occurs twice.
        InputError: When the table has no rows.
    """
    quick_start.start_arrow()
    location = locate(path)
    ways = _Columns(*([location.theirs(name) for name in names] for names in (skip, encoded, NUMERIC)))
    if only is not None:
        kept = list(map(location.theirs, only))
        ways = replace(ways, skip=[name for name in _stored_names(location) or () if name not in kept])
    table = _read_shards(location, ways)
    replaced: list[str] = []
    if location.renaming is not None:
        table, replaced = location.rename(table, _stored_names(location) or table.column_names)
    require_columns(location, table.column_names, columns)
    if table.num_rows == 0:
        raise InputError("the table has no rows", where=location, remedy="give a table with at least one row")
    note_replaced(location, replaced)
    return table


def require_columns(location: TableLocation, names: Sequence[str], columns: Sequence[str]) -> None:
    """Refuse a table that lacks a column.

    Args:
        location: The table.
        names: The names of its columns, by our names.
        columns: Columns that it must have.

    Raises:
        InputError: When it lacks one.
    """
    missing = [name for name in columns if name not in names]
    if missing:
        theirs = location.theirs(missing[0])
        named = f"column {theirs!r}, which --columns names for {missing[0]!r}," if theirs != missing[0] else ""
        raise InputError(
            f"{named or f'column {list_some(missing)}'} is missing (the table has {list_names(names)})",
            where=location,
            remedy=f"add the column, or say which one it is: --columns {missing[0]}=NAME",
        )


def note_replaced(location: TableLocation, replaced: Sequence[str]) -> None:
    """Say which columns of a table are not read, because ``--columns`` gives their names to others."""
    if replaced:
        listed = ", ".join(f"{name!r} ({location.theirs(name)!r} is read for it)" for name in replaced)
        console.note(f"{location}: columns that give way because of --columns: {listed}")


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
    for block in blocks(location.selection().pieces(stored_rows), [location.theirs(column)], rows):
        yield block.rename_columns([column])


def _stored_names(location: TableLocation) -> list[str] | None:
    """Return the names of the columns of Parquet or Arrow files; None for files that are read as a whole."""
    first = location.shards()[0]
    return stored_names(first) if first.by_columns else None


@dataclass(frozen=True)
class _Columns:
    """Columns that are read in a way of their own, by the names that the files have.

    Attributes:
        skip: They are not loaded from Parquet and Arrow.
        encoded: They may come as dictionaries.
        numeric: Their types are guessed in text files.
    """

    skip: Sequence[str]
    encoded: Sequence[str]
    numeric: Sequence[str]


def _read_shards(location: TableLocation, ways: _Columns) -> pa.Table:
    """Read the rows that the caller asked for from the files of a table."""
    shards = location.shards()
    parsed: dict[Shard, pa.Table] = {}  # files whose rows had to be counted, which for text means parsing them

    def count_rows(shard: Shard) -> int:
        """Count the rows of a file."""
        if shard.by_columns and len(shards) > 1:
            return stored_rows(shard)
        if shard not in parsed:
            parsed[shard] = _parse(shard, ways)
        return int(parsed[shard].num_rows)

    pieces = location.selection().pieces(count_rows)
    tables = []
    for piece in pieces:
        table = parsed[piece.shard] if piece.shard in parsed else _parse(piece.shard, ways)
        tables.append(table if piece.stop is None else table.slice(piece.start, piece.stop - piece.start))
    if not tables:
        raise InputError("no rows were asked for", where=location, remedy="ask for at least one row")
    location.remember(pieces, [table.num_rows for table in tables])
    if any(table.schema != tables[0].schema for table in tables):  # which types go together, `join` decides
        tables = [_decoded(table, ways.encoded) for table in tables]
    return join(tables, [piece.shard for piece in pieces], location)


def _refuse_repeated(names: Sequence[str], where: str) -> None:
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise InputError(
            f"column {list_some(repeated)} occurs more than once",
            where=where,
            remedy="rename or drop all but one of them",
        )


def _decoded(table: pa.Table, columns: Collection[str]) -> pa.Table:
    """The table with strings in those of some columns that are dictionaries."""
    import pyarrow as pa

    for number, field in enumerate(table.schema):
        if field.name in columns and pa.types.is_dictionary(field.type):
            table = table.set_column(number, field.name, table.column(number).cast(field.type.value_type))
    return table


def _parse(shard: Shard, ways: _Columns) -> pa.Table:
    """Parse a file by its ending."""
    numeric = ways.numeric
    with decompressed(shard) as path:
        if shard.ending in (*PARQUET, *ARROW):
            return _read_stored(path, shard, ways.skip if shard.by_columns else (), ways.encoded)
        if shard.ending in (".csv", ".tsv"):
            delimiter = shard.delimiter or ("\t" if shard.ending == ".tsv" else ",")
            table = read_csv(shard.name, delimiter=delimiter, open_file=opener(path), numeric=numeric)
        elif shard.ending in (".jsonl", ".json", ".ndjson"):
            table = read_json_lines(shard.name, open_file=opener(path), numeric=numeric)
        else:
            raise InputError(f"the ending {shard.ending!r} is not known", where=shard.name, remedy=KINDS)
    _refuse_repeated(table.column_names, shard.name)
    return table


def _read_stored(path: Path, shard: Shard, skip: Sequence[str], encoded: Sequence[str]) -> pa.Table:
    """Read a Parquet or Arrow file without the columns in ``skip``; the names of its columns are cleaned.

    Strings of a Parquet file that stand in ``encoded`` come as dictionaries.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        mapped = open_arrow(path, shard.name) if shard.ending in ARROW else None  # on disk until it is used
        if mapped is not None:
            mapped.validate()  # reading what lies outside of the file would end the process
        names = mapped.column_names if mapped is not None else pq.read_schema(path).names
        cleaned = clean_names(names, shard.name)
        _refuse_repeated(cleaned, shard.name)  # before pyarrow fails on choosing columns, with a message of its own
        chosen = [name for name, bare in zip(names, cleaned, strict=True) if bare not in skip]
        if mapped is not None:
            refuse_oversized_table(mapped, path, shard.name)
            table = mapped.select(chosen)
        else:
            table = _read_parquet(path, shard.name, chosen, [name for name in chosen if clean_name(name) in encoded])
    except (pa.ArrowException, MemoryError, UnicodeDecodeError, OSError) as cause:
        raise InputError(
            f"cannot be read as {shard.ending[1:]}: {str(cause).splitlines()[0]}",
            where=shard.name,
            remedy="the file is damaged, truncated or of another kind: write it again",
        ) from cause
    return table.rename_columns([clean_name(name) for name in table.column_names])


def _read_parquet(path: Path, where: str, chosen: Sequence[str], encoded: Collection[str]) -> pa.Table:
    """Read columns of a Parquet file; those in ``encoded`` that hold strings come as dictionaries."""
    import pyarrow.parquet as pq

    # Not by `pyarrow.parquet.read_table`, which imports pandas.
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        texts = [name for name in encoded if is_text(schema.field(name).type)]
        read = refuse_oversized(path, where, keep=texts)
        others = [name for name in chosen if name not in read]
        # Asked for the column "a", pyarrow also reads "a.b".
        table = file.read(None if others == schema.names else others).select(others)
    for number, name in enumerate(chosen):
        if name in read:
            table = table.add_column(number, name, read[name])
    return table


def write(path: Path | str, columns: Mapping[str, Any] | pa.Table) -> None:
    """Write a Parquet file; the same content gives the same bytes, and a reader never sees half a file.

    Args:
        path: Where the file goes.
        columns: The columns by name, as lists or arrays, or a table.
    """
    write_parts(path, [columns])


def write_parts(path: Path | str, parts: Iterable[Mapping[str, Any] | pa.Table]) -> None:
    """Write a Parquet file part by part, of which one is in memory at a time; otherwise as `write`.

    Args:
        path: Where the file goes.
        parts: At least one part; all have the same columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = (part if isinstance(part, pa.Table) else pa.table(dict(part)) for part in parts)
    first = next(tables).replace_schema_metadata(None)
    with replacing(Path(path)) as temporary, pq.ParquetWriter(temporary, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        del first
        for table in tables:
            writer.write_table(table.replace_schema_metadata(None).cast(writer.schema))
