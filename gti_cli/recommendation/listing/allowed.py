"""The items that `--only` and `--exclude` leave to be recommended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gti_cli import tables
from gti_cli.errors import InputError, list_some
from gti_cli.tables.near_misses import near_miss


def allowed_rows(row_of: Mapping[str, int], exclude: Path | str | None, only: Path | str | None) -> np.ndarray:
    """Rows of the catalogue that may be recommended, ascending.

    Args:
        row_of: Row of the catalogue of each item.
        exclude: Table of `item_id`: items that are never recommended.
        only: Table of `item_id`: the only items that are recommended.

    Raises:
        InputError: When a table lists an item that the catalogue does not have, or no item is left.
    """
    allowed = np.ones(len(row_of), dtype=bool)
    if only is not None:
        allowed[:] = False
        allowed[_listed_rows(only, row_of)] = True
    if exclude is not None:
        allowed[_listed_rows(exclude, row_of)] = False
    if not allowed.any():
        raise InputError("--only and --exclude leave no item to recommend", remedy="list other items")
    return np.flatnonzero(allowed)


@tables.in_terms_of_the_file
def _listed_rows(path: Path | str, row_of: Mapping[str, int]) -> list[int]:
    """Rows of the catalogue of the items that a table lists."""
    listed = tables.ids(tables.read(path, ["item_id"]), "item_id", path)
    unknown = list(dict.fromkeys(item for item in listed if item not in row_of))
    if unknown:
        row = listed.index(unknown[0]) + 1
        miss = near_miss(unknown, row_of)
        raise InputError(
            f"items that the catalogue does not have: {list_some(unknown)}{miss.problem if miss else ''}",
            where=f"{path}, column 'item_id', row {row:,}",
            remedy=miss.remedy if miss else "drop them from the list",
        )
    return [row_of[item] for item in listed]
