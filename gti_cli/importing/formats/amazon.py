"""Amazon reviews: the collections of 2014 and 2018 (``asin``), of 2023 (``parent_asin``), and the ratings tables."""

from __future__ import annotations

import re
from typing import Any

from gti_cli.errors import InputError
from gti_cli.importing.formats.base import Advance, Files, Format
from gti_cli.importing.gather import ImportedData, number
from gti_cli.importing.records import fields, need, objects, table_rows
from gti_cli.importing.sources import SourceFile
from gti_cli.importing.times import MILLISECONDS

_TEXTS_2018 = ("title", "description", "brand", "categories")
_ASIN = re.compile(r"[0-9B][0-9A-Z]{9}")
_REVIEW_2018, _REVIEW_2023 = {"reviewerID", "asin"}, {"user_id", "parent_asin"}


def _first_keys(file: SourceFile) -> set[str]:
    """Fields of a file's first record; none where it holds no records."""
    if file.name.endswith((".csv", ".tsv", ".parquet", ".inter", ".item", ".user", ".dat")):
        return set()
    try:
        return set(next(objects(file), (0, {}))[1])
    except InputError:
        return set()


def _is_2018(files: Files) -> bool:
    return any(_first_keys(file) >= _REVIEW_2018 for file in files)


def _is_2023(files: Files) -> bool:
    if any(
        file.name.endswith(".csv") and file.first_line().startswith("user_id,parent_asin,rating,") for file in files
    ):
        return True
    return any(_first_keys(file) >= _REVIEW_2023 for file in files)


def _is_ratings(files: Files) -> bool:
    return all(file.name.endswith(".csv") for file in files) and all(
        _ratings_order(file.first_line().split(",")) is not None for file in files
    )


def _ratings_order(row: list[str]) -> tuple[int, int] | None:
    """Places of user and item in a ratings table without a header; None where it is no such table.

    2014 has the user first, 2018 the item. Items are told by the form of their ids, which users' ids do not have.
    """
    if len(row) != 4 or not row[3].strip().isdigit():
        return None
    item_first, user_first = bool(_ASIN.fullmatch(row[0])), bool(_ASIN.fullmatch(row[1]))
    if item_first == user_first:
        return None
    return (1, 0) if item_first else (0, 1)


def _read_2018(files: Files, data: ImportedData, advance: Advance) -> None:
    for file in files:
        if _first_keys(file) >= _REVIEW_2018:
            for line, record in objects(file):
                user, item, time = need(record, ["reviewerID", "asin", "unixReviewTime"], file, line)
                data.log.add(user, item, number(time, "time", file.where(line)), _rating(record.get("overall")))
                advance(1)
        else:
            for line, record in objects(file):
                (item,) = need(record, ["asin"], file, line)
                # 2014 has `categories`, 2018 `category`.
                texts = {**record, "categories": record.get("categories", record.get("category"))}
                data.items.add(item, {name: texts.get(name) for name in _TEXTS_2018})
                advance(1)


def _read_2023(files: Files, data: ImportedData, advance: Advance) -> None:
    data.log.unit = MILLISECONDS
    for file in files:
        if file.name.endswith(".csv"):
            for line, (user, item, rating, time) in table_rows(file, ["user_id", "parent_asin", "rating", "timestamp"]):
                data.log.add(user, item, number(time, "time", file.where(line)), _rating(rating))
                advance(1)
        elif _first_keys(file) >= _REVIEW_2023:
            for line, record in objects(file):
                user, item, time = need(record, ["user_id", "parent_asin", "timestamp"], file, line)
                data.log.add(user, item, number(time, "time", file.where(line)), _rating(record.get("rating")))
                advance(1)
        else:
            for line, record in objects(file):
                (item,) = need(record, ["parent_asin"], file, line)
                categories = record.get("categories") or record.get("main_category")
                texts = {
                    "title": record.get("title"),
                    "description": record.get("description"),
                    "brand": record.get("store"),
                    "categories": categories,
                    "features": record.get("features"),
                }
                data.items.add(item, texts)
                advance(1)


def _read_ratings(files: Files, data: ImportedData, advance: Advance) -> None:
    for file in files:
        order = _ratings_order(file.first_line().split(","))
        if order is None:
            raise InputError(
                "it cannot be told which column holds the users and which the items",
                where=file.where(1),
                remedy="add a header line and pass --columns user_id=…,item_id=…,timestamp=…",
            )
        user, item = order
        for line, row in fields(file, ",", 4):
            data.log.add(row[user], row[item], number(row[3], "time", file.where(line)), _rating(row[2]))
            advance(1)


def _rating(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


FORMATS = (
    Format("amazon-2018", "Amazon reviews (2014 or 2018)", _is_2018, _read_2018),
    # Files of 2014 are read like those of 2018 and found as such; this is a second name for ``--format``.
    Format("amazon-2014", "Amazon reviews (2014 or 2018)", lambda _: False, _read_2018),
    Format("amazon-2023", "Amazon reviews 2023", _is_2023, _read_2023),
    Format("amazon-ratings", "Amazon ratings (2014 or 2018)", _is_ratings, _read_ratings),
)
