"""The items that `--only` and `--exclude` leave to be recommended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.recommendation.requests import RecommendOptions
from gti_cli.recommender.json_lines import LineDefaults
from gti_cli.recommender.settings import NO_ITEM_LEFT, known_rows


def allowed_mask(
    row_of: Mapping[str, int], exclude: Path | str | None, only: Path | str | None
) -> npt.NDArray[np.bool_] | None:
    """(N,) which rows of the catalogue may be recommended; None: all.

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
        raise InputError(NO_ITEM_LEFT, remedy="list other items")
    return None if allowed.all() else allowed


def line_defaults(options: RecommendOptions, row_of: Mapping[str, int]) -> LineDefaults:
    """What the options say of the lines of ``--input -`` that do not say otherwise.

    Args:
        options: The options; their tables are located.
        row_of: Row of the catalogue of each item.

    Raises:
        InputError: When an option is out of range, or a table lists an item that the catalogue does not have.
    """
    options.check()
    item_ids = list(row_of)

    def items(path: Path | str) -> frozenset[str]:
        """The item ids of a table."""
        return frozenset(item_ids[row] for row in _listed_rows(path, row_of))

    return LineDefaults(
        options.settings(),
        items(options.exclude) if options.exclude is not None else frozenset(),
        items(options.only) if options.only is not None else None,
        options.filter_seen,
    )


@tables.in_terms_of_the_file
def _listed_rows(path: Path | str, row_of: Mapping[str, int]) -> list[int]:
    """Rows of the catalogue of the items that a table lists."""
    return known_rows(tables.ids(tables.read(path, ["item_id"]), "item_id", path), row_of, path)
