"""Records out of a source file: JSON, Python literals, or fields between separators; errors name file and line."""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator, Sequence
from typing import Any

from gti_cli.errors import InputError, list_names, list_some
from gti_cli.importing.sources import SourceFile
from gti_cli.tables.headers import clean_names

# Longest line that is read as a Python literal: its parser needs many times the memory of the text.
LONGEST_LITERAL = 4_000_000


def objects(file: SourceFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a file with one JSON object, or one Python literal, on each line.

    Literals (the metadata of Amazon 2014 and Steam are written so) are read by `ast.literal_eval`, which runs no code.

    Args:
        file: The file.

    Yields:
        The number of each line, from 1, and its object.

    Raises:
        InputError: A line is neither.
    """
    for number, line in file.lines():
        try:
            record = json.loads(line)
        except ValueError as cause:
            record = _literal(line, file.where(number), cause)
        except RecursionError as cause:
            raise InputError(
                "this line nests its brackets too deep", where=file.where(number), remedy="give the right file"
            ) from cause
        if not isinstance(record, dict):
            raise InputError(
                "this line is no object", where=file.where(number), remedy="write one object {...} on each line"
            )
        yield number, record


def _literal(line: str, where: str, cause: ValueError) -> Any:
    if len(line) > LONGEST_LITERAL:
        raise InputError(
            f"this line has {len(line):,} characters and is no JSON", where=where, remedy="give the right file"
        ) from cause
    try:
        return ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise InputError(
            f"this line is neither JSON nor a Python literal ({cause.args[0].split(': line')[0]})",
            where=where,
            remedy="the file is damaged, cut short or of another kind: download it again, or name its --format",
        ) from cause


def whole_json(file: SourceFile) -> dict[str, Any]:
    """The one JSON object that a file holds.

    Args:
        file: The file.

    Returns:
        The object.

    Raises:
        InputError: The file holds something else.
    """
    with file.open() as stream:
        raw = stream.read()
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as cause:
        line = getattr(cause, "lineno", None)
        raise InputError(
            f"the file is no JSON: {str(cause).split(': line')[0]}",
            where=file.where(line),
            remedy="the file is damaged or of another kind: download it again",
        ) from cause
    if not isinstance(content, dict):
        raise InputError("the file holds no JSON object", where=file.where(), remedy="write one object {...}")
    return content


def is_blank(value: object) -> bool:
    """Whether a value is missing: there is none, or nothing but white space."""
    return value is None or (isinstance(value, str) and not value.strip())


def need(record: dict[str, Any], names: Sequence[str], file: SourceFile, line: int) -> list[Any]:
    """Values of a record that must be there.

    Args:
        record: The record.
        names: Its fields.
        file: Where it stands.
        line: In which line.

    Returns:
        One value for each name.

    Raises:
        InputError: A field is missing or empty.
    """
    values = [record.get(name) for name in names]
    for name, value in zip(names, values, strict=True):
        if is_blank(value):
            raise InputError(
                f"the field {name!r} is missing",
                where=file.where(line),
                remedy="correct or drop the line, or name the right --format",
            )
    return values


def fields(
    file: SourceFile, separator: str, least: int, *, encoding: str = "utf-8", quoted: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Rows of a text table.

    Args:
        file: The file.
        separator: What stands between two fields; one character where ``quoted``.
        least: Fewest fields of a row.
        encoding: How the text is encoded.
        quoted: Fields may stand in double quotes and then hold separators and line ends.

    Yields:
        The number of the line in which each row ends, from 1, and the row's fields.

    Raises:
        InputError: A row has fewer fields.
    """
    for number, row in _rows(file, separator, encoding, quoted):
        if len(row) < least:
            raise InputError(
                f"{len(row)} fields where {least} are needed",
                where=file.where(number),
                remedy="the file is cut short or of another kind: download it again, or name its --format",
            )
        yield number, row


def _rows(file: SourceFile, separator: str, encoding: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    if not quoted:
        for number, line in file.lines(encoding):
            yield number, line.split(separator)
        return
    reader = csv.reader((line + "\n" for _, line in file.lines(encoding)), delimiter=separator)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as cause:
        raise InputError(
            f"the row cannot be read: {cause}", where=file.where(reader.line_num), remedy="correct its quotes"
        ) from cause


def table_rows(
    file: SourceFile, wanted: Sequence[str], separator: str = ",", *, optional: Sequence[str] = ()
) -> Iterator[tuple[int, list[str]]]:
    """Chosen columns of a text table with a header.

    Args:
        file: The file.
        wanted: Names of columns that must be there.
        separator: What stands between two fields.
        optional: Names of columns that may be there.

    Yields:
        The number of the line in which each row ends, and its values in the order of ``wanted``, then of ``optional``
        (``""`` where a column is missing).

    Raises:
        InputError: The header lacks a column, or a row has fewer fields than the header.
    """
    rows = _rows(file, separator, "utf-8", quoted=True)
    _, header = next(rows, (1, []))
    header = clean_names(header, file.path)
    missing = [name for name in wanted if name not in header]
    if missing:
        raise InputError(
            f"column {list_some(missing)} is missing (the header has {list_names(header)})",
            where=file.where(1),
            remedy="give the right file, or name its --format or --columns",
        )
    places = [header.index(name) if name in header else None for name in (*wanted, *optional)]
    for number, row in rows:
        if len(row) < len(header):
            raise InputError(
                f"{len(row)} fields where the header has {len(header)}",
                where=file.where(number),
                remedy="the file is cut short or a quote is not closed: download it again",
            )
        yield number, ["" if place is None else row[place] for place in places]
