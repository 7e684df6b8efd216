"""Allow and deny lists of a call, for all requests or for each, as choices among the items of the catalogue."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from gti_cli.decoding.constraints.allowed_nodes import AllowedItems, ItemChoice
from gti_cli.errors import InputError
from gti_cli.recommender.settings import known_rows

Listed = Collection[str] | Sequence[Collection[str]]
Only = Collection[str] | Sequence[Collection[str] | None] | None


def for_each(given: Any, requests: int, name: str) -> list[Any]:
    """One list of items, or None, for each request.

    Args:
        given: Item ids for all requests, or for each request a collection of item ids or None.
        requests: Number of requests.
        name: Name of the argument, for the error line.

    Raises:
        InputError: When there are more or fewer lists than requests, or something is no list.
    """
    if isinstance(given, str) or any(isinstance(entry, str) for entry in given or ()):
        if isinstance(given, str) or not all(isinstance(entry, str) for entry in given):
            raise InputError(f"{name} is no list of item ids", remedy="give a list of ids, or one for each request")
        return [given] * requests
    if given is None or not len(given):
        return [given] * requests
    if len(given) != requests:
        raise InputError(
            f"{name} has {len(given):,} lists for {requests:,} requests",
            remedy="give one list for all requests, or one for each",
        )
    return list(given)


def flag_for_each(given: bool | Sequence[bool], requests: int, name: str) -> list[bool]:
    """Yes or no for each request.

    Args:
        given: For all requests, or for each.
        requests: Number of requests.
        name: Name of the argument, for the error line.

    Raises:
        InputError: When there are more or fewer than requests.
    """
    flags = [given] * requests if isinstance(given, bool) else list(given)
    if len(flags) != requests:
        raise InputError(f"{name} has {len(flags):,} values for {requests:,} requests", remedy="give one for each")
    return flags


def allowed_items(
    row_of: Mapping[str, int], requests: int, exclude: Listed = (), only: Only = None
) -> AllowedItems | None:
    """The items that each request's list may have.

    Args:
        row_of: Row of the catalogue of each item.
        requests: Number of requests.
        exclude: Item ids that are never recommended: for all requests, or for each.
        only: The only item ids that are recommended: for all requests, or for each, where None allows all.

    Returns:
        The different choices; None where all requests may have all items.

    Raises:
        InputError: When an item is unknown, or no item is left.
    """
    pairs = list(zip(for_each(exclude, requests, "exclude"), for_each(only, requests, "only"), strict=True))
    if not any(excluded or kept is not None for excluded, kept in pairs):
        return None
    number_of: dict[tuple[Any, Any], int] = {}
    number_of_object: dict[tuple[int, int], int] = {}  # a long list that requests share is looked at once
    choices: list[ItemChoice] = []
    numbers = []
    for excluded, kept in pairs:
        same = id(excluded), id(kept)
        if same not in number_of_object:
            key = (frozenset(excluded or ()), None if kept is None else frozenset(kept))
            if key not in number_of:
                number_of[key] = len(choices)
                choices.append(_choice(row_of, excluded or (), kept))
            number_of_object[same] = number_of[key]
        numbers.append(number_of_object[same])
    return AllowedItems(choices, np.asarray(numbers, dtype=np.int64))


def _choice(row_of: Mapping[str, int], exclude: Collection[str], only: Collection[str] | None) -> ItemChoice:
    """The items that are left."""
    excluded = np.unique(np.asarray(known_rows(list(exclude), row_of), dtype=np.int64))
    choice = ItemChoice(len(row_of), excluded, are_allowed=False)
    if only is not None:
        kept = np.unique(np.asarray(known_rows(list(only), row_of), dtype=np.int64))
        choice = ItemChoice(len(row_of), kept[choice.allows(kept)], are_allowed=True)
    if len(choice.rows) == (0 if choice.are_allowed else len(row_of)):
        raise InputError("'only' and 'exclude' leave no item to recommend", remedy="list other items")
    return choice
