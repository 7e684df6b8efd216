"""Any table, with the names of its columns given by the caller: ``--columns user_id=reviewerID,item_id=asin``."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from gti_cli.errors import InputError, list_names, list_some
from gti_cli.importing.formats.base import Advance, Files
from gti_cli.importing.gather import ImportedData, id_text, number
from gti_cli.importing.records import is_blank, objects, table_rows
from gti_cli.importing.sources import SourceFile
from gti_cli.importing.times import POSITIONS, ColumnTimes
from gti_cli.tables.headers import clean_names, stored_name
from gti_cli.tables.sources.renaming import parse_pairs
from gti_cli.tables.text_types import id_texts, readable_column
from gti_cli.tables.written_times import NUMBERS, day_comes_first, parsed_times
from gti_cli.workspace.remarks import remark

# The number of each row's line (or of the row, in Parquet), and its values.
Rows = Iterator[tuple[int, list[Any]]]

OUR_COLUMNS = ("user_id", "item_id", "timestamp", "rating", "title", "description", "brand", "categories")
_QUERY_COLUMNS = ("query", "item_id", "relevance")
_TEXT_FILES = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
_FIRST_RECORDS = 1000  # lines of a JSONL file in which its columns are sought


def parse_columns(text: str) -> dict[str, str]:
    """``"user_id=reviewerID,item_id=asin"`` as a mapping from our column names to those of the file.

    Args:
        text: As the caller wrote it.

    Returns:
        Our names -> theirs.

    Raises:
        InputError: The text has another form, names a column twice, or names one of ours that does not exist.
    """
    mapping = parse_pairs(text)
    unknown = [name for name in mapping if name not in {*OUR_COLUMNS, *_QUERY_COLUMNS}]
    if unknown:
        raise InputError(
            f"--columns names {list_some(unknown)}, which no table of gti has",
            remedy=f"use {', '.join([*OUR_COLUMNS, 'query', 'relevance'])}",
        )
    if "item_id" not in mapping:
        raise InputError("--columns must say which column holds the item ids", remedy="add item_id=…")
    return mapping


def read_columns(files: Files, data: ImportedData, advance: Advance, mapping: Mapping[str, str]) -> None:
    """Read tables by the caller's column names; each file gives what its columns allow.

    A file with users gives interactions, one with queries gives queries, and one with titles gives items.

    Args:
        files: CSV, TSV, JSON lines or Parquet files.
        data: Where to put what is read.
        advance: Shows progress.
        mapping: Our column names -> those of the files.

    Raises:
        InputError: A file lacks the column of the item ids, or has nothing beside it.
    """
    for file in files:
        names = _column_names(file)
        ours = [name for name, theirs in mapping.items() if theirs in names]
        if "item_id" not in ours or len(ours) == 1:
            raise InputError(
                f"the columns {list_some(list(mapping.values()))} are not there (it has {list_names(names)})",
                where=file.where(),
                remedy="correct --columns",
            )
        rows = _rows(file, {name: mapping[name] for name in ours})
        if "user_id" in ours:
            times = _column_times(file, mapping["timestamp"]) if "timestamp" in ours else None
            _add_interactions(file, ours, rows, times, data, advance)
        elif "query" in ours:
            _add_queries(file, ours, rows, data, advance)
        else:
            for _, values in rows:
                record = dict(zip(ours, values, strict=True))
                data.items.add(record.pop("item_id"), record)
                advance(1)


def _add_interactions(
    file: SourceFile, ours: list[str], rows: Rows, times: ColumnTimes | None, data: ImportedData, advance: Advance
) -> None:
    if times is None:
        data.log.unit = POSITIONS
        data.notes.append(f"{file.path.name} has no times: the order of its rows is taken for the order in time")
    texts = [name for name in ours if name in ("title", "description", "brand", "categories")]
    for position, (line, values) in enumerate(rows):
        record = dict(zip(ours, values, strict=True))
        where = file.where(line)
        user, item = record["user_id"], record["item_id"]
        if is_blank(user) or is_blank(item):
            raise InputError("the id is missing", where=where, remedy="give every row ids or drop the row")
        time = position if times is None else times.read(record["timestamp"], line)
        rating = record.get("rating")
        data.log.add(user, item, time, float("nan") if rating in (None, "") else number(rating, "rating", where))
        if texts and id_text(item) not in data.items.rows:
            data.items.add(item, {name: record[name] for name in texts})
        advance(1)


def _add_queries(file: SourceFile, ours: list[str], rows: Rows, data: ImportedData, advance: Advance) -> None:
    for line, values in rows:
        record = dict(zip(ours, values, strict=True))
        relevance = record.get("relevance")
        data.queries.setdefault("query", []).append(str(record["query"]))
        data.queries.setdefault("item_id", []).append(id_text(record["item_id"]))
        grade = 2 if relevance in (None, "") else int(number(relevance, "relevance", file.where(line)))
        data.queries.setdefault("relevance", []).append(grade)
        advance(1)


def _column_times(file: SourceFile, column: str) -> ColumnTimes:
    """Make the reader of a column of times; where days may come before months, it reads the whole column for that."""

    def texts() -> Iterator[tuple[int, str]]:
        """Return the line and the text of each time."""
        return ((line, str(value)) for line, (value,) in _rows(file, {"timestamp": column}))

    _, _, first = next(parsed_times(islice(texts(), 1)), (0, "", None))
    in_numbers = first is not None and first.kind == NUMBERS
    day_first = day_comes_first(parsed_times(texts()), file.where) if in_numbers else None
    return ColumnTimes(file.where, day_first, _narrow_type(file, column))


def _narrow_type(file: SourceFile, column: str) -> str | None:
    """Name the type of a column of Parquet that cannot hold seconds since 1970; None for all others."""
    if file.path.suffix.lower() not in (".parquet", ".pq"):
        return None
    import pyarrow.parquet as pq

    schema = pq.read_schema(file.path)
    kind = str(schema.field(stored_name(schema.names, column)).type)
    return {"float": "float32", "halffloat": "float16"}.get(kind)


def _column_names(file: SourceFile) -> list[str]:
    if file.path.suffix.lower() in (".parquet", ".pq"):
        import pyarrow.parquet as pq

        return clean_names(pq.read_schema(file.path).names, file.path)
    if separator := _separator(file):
        return clean_names(next(csv.reader([file.first_line("utf-8")], delimiter=separator), []), file.path)
    # A field may be missing in the first lines.
    return list(dict.fromkeys(name for _, record in islice(objects(file), _FIRST_RECORDS) for name in record))


def _separator(file: SourceFile) -> str | None:
    return next((separator for ending, separator in _TEXT_FILES.items() if file.name.endswith(ending)), None)


def _rows(file: SourceFile, columns: Mapping[str, str]) -> Rows:
    """(line, values) of each row.

    Args:
        file: The table.
        columns: Our column names -> those of the file.
    """
    theirs = list(columns.values())
    if file.path.suffix.lower() in (".parquet", ".pq"):
        yield from _parquet_rows(file, columns)
    elif separator := _separator(file):
        yield from table_rows(file, theirs, separator)
    else:
        for line, record in objects(file):
            yield line, [record.get(name) for name in theirs]


def _parquet_rows(file: SourceFile, columns: Mapping[str, str]) -> Rows:
    """(row, values) of each row of a Parquet file: texts and ids are strings, whatever type the file has for them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    first_row, converted = 1, dict[str, str]()
    with pq.ParquetFile(file.path) as parquet:
        stored = {theirs: stored_name(parquet.schema_arrow.names, theirs) for theirs in columns.values()}
        for batch in parquet.iter_batches(columns=list(dict.fromkeys(stored.values()))):
            table = pa.Table.from_batches([batch])
            values: list[list[Any]] = []
            for ours, theirs in columns.items():
                if ours in ("user_id", "item_id"):
                    texts, kind = id_texts(table, stored[theirs], file.path, first_row)
                    converted.update({theirs: kind} if kind else {})
                    values.append(texts)
                else:
                    values.append(readable_column(table, stored[theirs], file.path, first_row).to_pylist())
            for row, record in enumerate(zip(*values, strict=True), start=first_row):
                yield row, list(record)
            first_row += len(batch)
    for name, kind in converted.items():
        remark(file.path, f"column {name!r} is of type {kind}: its ids became whole numbers (7, not 7.0)")
