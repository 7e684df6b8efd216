"""Semantic IDs as an index file of the LC-Rec family, in JSON.

Codes are tokens, ``{"item": ["<a_12>", "<b_3>", …], …}``, or whole numbers, ``{"item": [12, 3, …], …}``. Some programs
number on through the levels, so that no two levels share a number: ``[12, 259, …]``. Such levels are shifted back to 0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.checkpoints.token_names import parse_name, split_tokens
from gti_cli.errors import InputError, list_some
from gti_cli.semantic_ids.options import MAX_CODES
from gti_cli.tables.near_misses import near_miss
from gti_cli.workspace.files import replacing


@dataclass(frozen=True)
class ImportedIndex:
    """The codes of a catalogue's N items, read from an index.

    Attributes:
        codes: (N, L), rows as in the catalogue.
        sizes: The number of codes of each level.
        extra: The number of entries for items that the catalogue does not have; they are dropped.
    """

    codes: npt.NDArray[np.int32]
    sizes: list[int]
    extra: int


def read_index(path: Path | str, item_ids: Sequence[str], sizes: Sequence[int] | None = None) -> ImportedIndex:
    """Read the codes of ``item_ids`` from an index.

    Args:
        path: The JSON file.
        item_ids: The item ids of the catalogue, in order.
        sizes: The number of codes of each level; None: the largest code of each level + 1.

    Raises:
        InputError: When the file is broken, an item has no entry, tuples differ in length, a name is not a code of its
            level, or the codes do not fit ``sizes``.
    """
    index = _load(path)
    missing = [item for item in item_ids if item not in index]
    if missing:
        miss = near_miss(missing, index)
        raise InputError(
            f"{len(missing):,} items of the catalogue have no entry (item_id {list_some(missing)})"
            f"{miss.problem if miss else ''}",
            where=str(path),
            remedy=miss.remedy if miss else "give the index that belongs to these items, or drop the items",
        )
    width = len(index[item_ids[0]]) if isinstance(index[item_ids[0]], list) else 0
    codes = _from_zero(np.asarray([_codes(path, item, index[item], width) for item in item_ids], dtype=np.int32), index)
    needed = [int(code) + 1 for code in codes.max(axis=0)]
    if sizes is not None and (
        len(sizes) != width or any(size < least for size, least in zip(sizes, needed, strict=False))
    ):
        raise InputError(
            f"the index needs at least {', '.join(map(str, needed))} codes in its {width} levels,"
            f" --levels and --codes say {', '.join(map(str, sizes))}",
            where=str(path),
            remedy="leave out --levels and --codes to use the sizes of the index",
        )
    return ImportedIndex(codes, list(sizes) if sizes is not None else needed, len(index) - len(item_ids))


def write_index(path: Path, item_ids: Sequence[str], tokens: Sequence[str]) -> None:
    """Write an index that `read_index` can read.

    Args:
        path: The JSON file, written under a temporary name and renamed.
        item_ids: N ids.
        tokens: N semantic IDs as strings of tokens, e.g. ``"<a_12><b_3>"``.
    """
    index = {item: split_tokens(names) for item, names in zip(item_ids, tokens, strict=True)}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(index, ensure_ascii=False), "utf-8")


def _load(path: Path | str) -> dict[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", where=str(path), remedy="check the path given to --import-index")
    try:
        index = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError, OSError) as cause:
        raise InputError(
            f"cannot be read as JSON: {cause}",
            where=str(path),
            remedy="the file is damaged, truncated or not JSON",
        ) from cause
    if not isinstance(index, dict) or not index:
        raise InputError(
            'not an index: it must be one object {"item_id": ["<a_12>", "<b_3>", ...], ...}', where=str(path)
        )
    return index


def _from_zero(codes: npt.NDArray[np.int32], index: dict[str, Any]) -> npt.NDArray[np.int32]:
    """Shift the levels of whole numbers that go on through the levels, so that the smallest code of each level is 0."""
    lowest, highest = codes.min(axis=0), codes.max(axis=0)
    goes_on = len(lowest) > 1 and bool((lowest[1:] > highest[:-1]).all())
    if not goes_on or any(isinstance(name, str) for names in index.values() for name in names):
        return codes
    console.note(
        "the index numbers its codes on through the levels: the smallest code of each level "
        f"({', '.join(map(str, lowest.tolist()))}) became 0"
    )
    return np.asarray(codes - lowest, dtype=np.int32)


def _codes(path: Path | str, item: str, names: Any, width: int) -> list[int]:
    """The codes of one entry, whose ``names`` may be anything that JSON can hold."""
    where = f"{path}, item {item!r}"
    kinds = {type(name) for name in names} if isinstance(names, list) else set()
    if kinds not in ({str}, {int}):
        raise InputError(
            'must be a list of names such as ["<a_12>", "<b_3>"], or of numbers such as [12, 3]', where=where
        )
    if len(names) != width:
        raise InputError(f"{len(names)} codes where the first item has {width}", where=where)
    if kinds == {int}:
        wrong = [code for code in names if not 0 <= code < MAX_CODES]
        if wrong:
            raise InputError(f"{wrong[0]}: codes must be from 0 to {MAX_CODES - 1:,}", where=where)
        return list(names)
    codes = []
    for level, name in enumerate(names):
        parsed = parse_name(name)
        if parsed is None or parsed[0] != level:
            letter = chr(ord("a") + level)
            raise InputError(f"{name!r} is not a code of level {level} (expected <{letter}_NUMBER>)", where=where)
        if parsed[1] >= MAX_CODES:
            raise InputError(f"{name!r}: codes must be below {MAX_CODES:,}", where=where)
        codes.append(parsed[1])
    return codes
