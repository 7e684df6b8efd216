"""The JSON of LC-Rec, LETTER, MiniOneRec and their family: ``X.inter.json``, ``X.item.json``, ``X.index.json``."""

from __future__ import annotations

from typing import Any

from gti_cli.errors import InputError
from gti_cli.importing.formats.base import Advance, Files, Format, named, need_one
from gti_cli.importing.gather import ImportedData, add_in_order
from gti_cli.importing.records import whole_json


def _read(files: Files, data: ImportedData, advance: Advance) -> None:
    file = need_one(files, "LC-Rec", "*.inter.json")
    for user, items in whole_json(file).items():
        if not isinstance(items, list):
            raise InputError(
                f"user {user!r} has no list of items",
                where=file.where(),
                remedy="write {user: [item, …]} in time order",
            )
        add_in_order(data.log, user, items)
        advance(len(items))
    for texts in named(files, "*.item.json"):
        for item, record in whole_json(texts).items():
            if not isinstance(record, dict):
                raise InputError(
                    f"item {item!r} has no object of texts", where=texts.where(), remedy='write {item: {"title": …}}'
                )
            data.items.add(item, _texts(record))
            advance(1)
    for index in named(files, "*.index.json"):
        data.notes.append(f"{index.path.name} holds semantic IDs: pass it to 'gti build-ids --import-index'")


def _texts(record: dict[str, Any]) -> dict[str, Any]:
    categories = record.get("categories")
    if isinstance(categories, str):
        # One text with commas, from general to special.
        categories = [part.strip() for part in categories.split(",")]
    return {**{name: value for name, value in record.items() if name != "categories"}, "categories": categories}


FORMATS = (Format("lc-rec", "LC-Rec's JSON", lambda files: bool(named(files, "*.inter.json")), _read),)
