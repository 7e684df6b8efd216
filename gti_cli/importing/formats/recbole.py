"""RecBole's atomic files: tab-separated, with a header of ``name:type``."""

from __future__ import annotations

from collections.abc import Iterator

from gti_cli.errors import InputError, list_names
from gti_cli.importing.formats.base import Advance, Files, Format, named, need_one
from gti_cli.importing.gather import ImportedData, number
from gti_cli.importing.records import fields
from gti_cli.importing.sources import SourceFile
from gti_cli.importing.times import POSITIONS

_TITLES = ("title", "item_name", "name")
_CATEGORIES = ("categories", "category", "genre", "genres", "class")


def _header(file: SourceFile) -> dict[str, tuple[int, str]]:
    """Place and type of each column."""
    columns = {}
    for place, entry in enumerate(file.first_line("utf-8").split("\t")):
        name, _, kind = entry.strip().partition(":")
        columns[name] = (place, kind)
    return columns


def _place(columns: dict[str, tuple[int, str]], name: str, file: SourceFile) -> int:
    if name not in columns:
        raise InputError(
            f"column {name!r} is missing (the header has {list_names(list(columns))})",
            where=file.where(1),
            remedy="give a file with the columns user_id:token and item_id:token",
        )
    return columns[name][0]


def _read(files: Files, data: ImportedData, advance: Advance) -> None:
    file = need_one(files, "RecBole", "*.inter")
    columns = _header(file)
    user, item = _place(columns, "user_id", file), _place(columns, "item_id", file)
    time = columns.get("timestamp", (None, ""))[0]
    rating = columns.get("rating", (None, ""))[0]
    if time is None:
        data.log.unit = POSITIONS
        data.notes.append("the .inter file has no timestamp: the order of its rows is taken for the order in time")
    for row_number, (line, row) in enumerate(_body(file, len(columns))):
        where = file.where(line)
        data.log.add(
            row[user],
            row[item],
            row_number if time is None else number(row[time], "time", where),
            float("nan") if rating is None or not row[rating] else number(row[rating], "rating", where),
        )
        advance(1)
    for texts in named(files, "*.item"):
        _read_items(texts, data, advance)


def _read_items(file: SourceFile, data: ImportedData, advance: Advance) -> None:
    columns = _header(file)
    item = _place(columns, "item_id", file)
    names = {name: place for name, (place, kind) in columns.items() if kind.startswith("token") and name != "item_id"}
    title = next((name for name in names if name.endswith(_TITLES)), None)
    categories = next((name for name in names if name in _CATEGORIES), None)
    renamed = {title: "title", categories: "categories"}
    for _, row in _body(file, len(columns)):
        data.items.add(row[item], {renamed.get(name) or name: row[place] for name, place in names.items()})
        advance(1)


def _body(file: SourceFile, least: int) -> Iterator[tuple[int, list[str]]]:
    rows = fields(file, "\t", least)
    next(rows, None)
    return rows


FORMATS = (Format("recbole", "RecBole atomic files", lambda files: bool(named(files, "*.inter")), _read),)
