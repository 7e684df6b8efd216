"""What is wrong with a text table that its parser refuses: the line of the file, and what to do about it."""

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
    """The error line for a CSV or JSONL file that pyarrow refused with ``message``, whose rows are those of a block."""
    kind = path.suffix.lower()[1:]
    try:
        with path.open("rb") as file:
            begin = file.read(2)
        if begin in _UTF16:
            return InputError("the text is UTF-16", where=str(path), remedy=_UTF8)
        found = _csv(path) if kind == "csv" else _json(path)
    except UnicodeDecodeError:
        return InputError("the text is not UTF-8", where=f"{path}, line {_undecodable(path):,}", remedy=_UTF8)
    except (OSError, csv.Error):
        found = None
    return found or InputError(
        f"cannot be read as {kind}: {re.sub(r' in row [0-9]+', '', message)}",  # pyarrow counts within a block
        where=str(path),
        remedy="the file is damaged, truncated or of another kind: write it again",
    )


def check_header(names: Sequence[str], path: Path) -> None:
    """Refuse a CSV whose header is one name with the delimiters of another kind of file in it."""
    mark = next((mark for mark in (";", "\t") if len(names) == 1 and mark in names[0]), None)
    if mark:
        raise InputError(
            f"the columns are separated by {'semicolons' if mark == ';' else 'tabs'}",
            where=str(path),
            remedy="save it with commas",
        )


def _undecodable(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _csv(path: Path) -> InputError | None:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        before = rows.line_num
        try:
            check_header(header, path)
        except InputError as error:
            return error
        for row in rows:
            if row and len(row) != len(header):
                return InputError(
                    f"cannot be read as csv: {len(row)} fields where the header has {len(header)}",
                    where=f"{path}, line {before + 1:,}",
                    remedy='put texts that hold commas in quotes ("a, b"), close every quote, and fill every column',
                )
            before = rows.line_num
    return None


def _json(path: Path) -> InputError | None:
    kinds: dict[str, tuple[str, int]] = {}
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
                first, line_of = kinds.setdefault(name, (kind, number)) if kind else (kind, number)
                if kind != first:
                    return InputError(
                        f"a {kind} where line {line_of:,} has a {first}",
                        where=f"{path}, column {name!r}, line {number:,}",
                        remedy="write the same kind of value in every line",
                    )
    return None


def _kind(value: Any) -> str:
    kinds = {str: "text", bool: "truth value", int: "number", float: "number", list: "list", dict: "nested object"}
    return kinds.get(type(value), "")
