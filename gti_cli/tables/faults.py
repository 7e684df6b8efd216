"""Explain why a CSV or JSONL file cannot be read: which line is wrong, and what to do about it.

pyarrow reports errors by block and in its own terms, so the file is read once more, line by line.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gti_cli.errors import InputError

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_UTF8 = "save it as UTF-8"


def explain(path: Path, message: str) -> InputError:
    """Make the error for a file that pyarrow has refused.

    Args:
        path: A CSV or JSONL file.
        message: The message of pyarrow, which is used if the second reading finds nothing wrong.
    """
    kind = path.suffix.lower()[1:]
    try:
        with path.open("rb") as file:
            start = file.read(2)
        if start in _UTF16:
            return InputError("the text is UTF-16", where=str(path), remedy=_UTF8)
        fault = _csv_fault(path) if kind in ("csv", "tsv") else _jsonl_fault(path)
    except UnicodeDecodeError:
        return InputError(
            "the text is not UTF-8", where=f"{path}, line {_first_undecodable_line(path):,}", remedy=_UTF8
        )
    except (OSError, csv.Error):
        fault = None
    return fault or InputError(
        # Remove the row number from pyarrow's message: it is counted from the start of a block.
        f"cannot be read as {kind}: {re.sub(r' in row [0-9]+', '', message)}",
        where=str(path),
        remedy="the file is damaged, truncated or of another kind: write it again",
    )


def check_header(names: Sequence[str], path: Path) -> None:
    """Refuse a CSV with semicolons or tabs between its columns.

    Args:
        names: The names in the header, split at commas.
        path: The file, for the error line.

    Raises:
        InputError: When the header is a single name that contains such a separator.
    """
    separator = next((mark for mark in (";", "\t") if len(names) == 1 and mark in names[0]), None)
    if separator:
        raise InputError(
            f"the columns are separated by {'semicolons' if separator == ';' else 'tabs'}",
            where=str(path),
            remedy="save it with commas",
        )


def _first_undecodable_line(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _csv_fault(path: Path) -> InputError | None:
    """Return the first fault of a CSV file: its separator, or a row with another number of fields."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        header = next(rows, [])
        lines_read = rows.line_num  # a row may span several lines
        try:
            check_header(header, path)
        except InputError as error:
            return error
        for row in rows:
            if row and len(row) != len(header):
                return InputError(
                    f"cannot be read as csv: {len(row)} fields where the header has {len(header)}",
                    where=f"{path}, line {lines_read + 1:,}",
                    remedy='put texts that hold commas in quotes ("a, b"), close every quote, and fill every column',
                )
            lines_read = rows.line_num
    return None


def _jsonl_fault(path: Path) -> InputError | None:
    """Return the first fault of a JSONL file: no JSON, no object, or a value of another kind than in earlier lines."""
    kinds: dict[str, tuple[str, int]] = {}  # column -> kind of its values, and the line where it was first seen
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number:,}"
            if not kinds and line.lstrip().startswith("["):
                return InputError(
                    "cannot be read as jsonl: this is a JSON array", where=where, remedy="write one object per line"
                )
            try:
                row = json.loads(line)
            except ValueError as cause:
                problem = f"cannot be read as jsonl: {cause.args[0].split(': line')[0].removesuffix(' at')}"
                return InputError(problem, where=where, remedy="write one whole object per line")
            if not isinstance(row, dict):
                return InputError("cannot be read as jsonl: no object", where=where, remedy="write one object per line")
            for name, value in row.items():
                kind = _kind(value)
                if not kind:  # null fits every kind
                    continue
                first_kind, first_line = kinds.setdefault(name, (kind, number))
                if kind != first_kind:
                    return InputError(
                        f"a {kind} where line {first_line:,} has a {first_kind}",
                        where=f"{path}, column {name!r}, line {number:,}",
                        remedy="write the same kind of value in every line",
                    )
    return None


def _kind(value: Any) -> str:
    """Return the kind of a JSON value in words; "" for null."""
    kinds = {str: "text", bool: "truth value", int: "number", float: "number", list: "list", dict: "nested object"}
    return kinds.get(type(value), "")
