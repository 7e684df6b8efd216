"""How lists are searched, and which requests are refused. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from gti_cli.errors import InputError, list_some, quote
from gti_cli.tables.near_misses import near_miss

SEARCHES = ("auto", "beam", "exact")
EXACT_PROMPTS = 300  # `auto` searches exactly for as many users or queries: loading the model costs more than that.
EXACT_PREFIXES = 2000  # Most prefixes that `auto` follows for one of them, about thirty times those of 20 beams.
NO_ITEM_LEFT = "--only and --exclude leave no item to recommend"
_ONE_FOR_LIST = "one request is given in the place of a list of them"


@dataclass(frozen=True)
class ListSettings:
    """How the lists of a call are made.

    Attributes:
        k: Items of a list.
        search: One of `SEARCHES`.
        beams: Hypotheses of the beam search, at least ``k``. None: ``k``, at least 20.
        batch_size: Prompts in a batch. It changes the speed, and scores by rounding alone.
        max_history: Most items of a history that a prompt shows. None: as in fine-tuning.
    """

    k: int = 10
    search: str = "auto"
    beams: int | None = None
    batch_size: int = 32
    max_history: int | None = None

    def check(self) -> None:
        """Check the values.

        Raises:
            InputError: When a value is out of range, or of another type.
        """
        for name, value in vars(self).items():
            is_number = isinstance(value, Integral) and not isinstance(value, bool)
            if name != "search" and value is not None and not is_number:
                raise InputError(f"{name} {quote(value)} is no whole number", remedy=f"write {name}=10")
        for flag, number in (("-k", self.k), ("--batch-size", self.batch_size)):
            if number < 1:
                raise InputError(f"{flag} is {number}", remedy="use 1 or more")
        if self.search not in SEARCHES:
            raise InputError(f"--search {self.search!r} is not known", remedy="use auto, beam or exact")
        if self.beams is not None and self.beams < self.k:
            raise InputError(
                f"--beams {self.beams} is fewer than the {self.k} items of a list", remedy=f"use {self.k} or more"
            )
        if self.max_history is not None and self.max_history < 1:
            raise InputError(f"--max-history {self.max_history} shows no item", remedy="use 1 or more")

    def is_exact(self, prompts: int) -> bool:
        """Whether this many users or queries are searched exactly."""
        return self.search == "exact" or (self.search == "auto" and self.beams is None and prompts <= EXACT_PROMPTS)


def check_history_items(histories: Iterable[Sequence[str]], row_of: Mapping[str, int]) -> None:
    """Check that there are histories, with known items.

    Args:
        histories: Item ids of each user.
        row_of: Row of the catalogue of each item.

    Raises:
        InputError: When an item is unknown or a history is empty.
    """
    lists = list(histories)
    for item in (item for items in lists for item in items):
        if not isinstance(item, str):
            raise InputError(
                f"item id {quote(item)} is not text", remedy="give each history as a list of item ids (text)"
            )
    unknown = list(dict.fromkeys(item for items in lists for item in items if item not in row_of))
    if unknown:
        miss = near_miss(unknown, row_of)
        raise InputError(
            f"items without a semantic ID: {list_some(unknown)}{miss.problem if miss else ''}",
            remedy="give item ids as the catalogue has them ('item_id')",
        )
    if not lists or not all(lists):
        raise InputError("the history is empty", remedy="give at least one item id")


def take_requests(
    histories: Iterable[Iterable[str]] | None,
    queries: Iterable[str] | None,
    row_of: Mapping[str, int],
    is_blend: bool = False,
) -> tuple[list[list[str]] | None, list[str] | None, int]:
    """Take either histories of known items, or queries, from any iterables.

    Args:
        histories: Item ids of each user. None: queries are asked.
        queries: Words of each query. None: histories are asked.
        row_of: Row of the catalogue of each item.
        is_blend: Whether a blend is asked, which answers histories alone.

    Returns:
        Both as lists, or None, and the number of requests.

    Raises:
        InputError: When it is neither or both, something is no list, an item is unknown, or a request is empty.
    """
    if queries is not None and is_blend:
        raise InputError("a blend recommends to users, and cannot answer queries", remedy="name a checkpoint")
    if (histories is None) == (queries is None):
        problem = "it is not said for whom to recommend" if histories is None else "histories and queries at once"
        raise InputError(problem, remedy="give histories or queries")
    if histories is None:
        words = _as_list(queries, "queries", 'write ["red dress"]')
        strip_queries(words)
        return None, words, len(words)
    requests = _as_list(histories, "histories", 'write [["A", "B"]]')
    if any(isinstance(history, str) for history in requests):
        raise InputError(_ONE_FOR_LIST, remedy='write [["A", "B"]], or ["red dress"]')
    taken = [_as_list(history, "a history", 'write [["A", "B"]]') for history in requests]
    check_history_items(taken, row_of)
    return taken, None, len(taken)


def one_request(history: Iterable[str] | None) -> list[list[str]] | None:
    """A history in the place where one alone is asked for, as a list of one.

    Raises:
        InputError: When it is a list of histories.
    """
    if history is None:
        return None
    items = _as_list(history, "the history", 'write ["A", "B"]')
    if any(isinstance(item, (list, tuple)) for item in items):
        raise InputError("a list of histories is given where one history is asked for", remedy='write ["A", "B"]')
    return [items]


def check_cache(cache_bytes: int, name: str, is_blend: bool) -> None:
    """Refuse a cache of prompts that cannot be kept.

    Args:
        cache_bytes: Memory for it; 0: none.
        name: Name of the checkpoint or the blend.
        is_blend: Whether it is a blend.

    Raises:
        InputError: When it is no size, or this is a blend.
    """
    if not isinstance(cache_bytes, Integral) or isinstance(cache_bytes, bool) or cache_bytes < 0:
        raise InputError(f"cache_bytes {quote(cache_bytes)} is no number of bytes", remedy="use for example 2**28")
    if cache_bytes and is_blend:
        raise InputError(
            f"the prefix cache is for a checkpoint, and {name!r} is a blend",
            remedy="leave it out, or name a checkpoint",
        )


def _as_list(given: Any, name: str, remedy: str) -> list[Any]:
    """The entries of an iterable, which may be a generator.

    Raises:
        InputError: When it is none, or is one text, or a mapping.
    """
    if isinstance(given, (str, bytes)):
        raise InputError(_ONE_FOR_LIST, remedy='write [["A", "B"]], or ["red dress"]')
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise InputError(f"{name} {quote(given)} is no list", remedy=remedy)
    return list(given)


def strip_queries(texts: Iterable[str]) -> list[str]:
    """Remove the white space around queries.

    Raises:
        InputError: When a query is empty or no text, or there is none.
    """
    listed = list(texts)
    for text in listed:
        if not isinstance(text, str):
            raise InputError(f"query {quote(text)} is not text", remedy='write ["red dress"]')
    stripped = [text.strip() for text in listed]
    if not stripped or not all(stripped):
        raise InputError("the query is empty", remedy="give some words")
    return stripped


def known_rows(listed: Sequence[str], row_of: Mapping[str, int], path: object = None) -> list[int]:
    """Rows of the catalogue of items that may, or may not, be recommended.

    Args:
        listed: Item ids.
        row_of: Row of the catalogue of each item.
        path: The table that lists them, for the error line. None: no table.

    Raises:
        InputError: When the catalogue does not have an item.
    """
    unknown = list(dict.fromkeys(item for item in listed if item not in row_of))
    if unknown:
        miss = near_miss(unknown, row_of)
        raise InputError(
            f"items that the catalogue does not have: {list_some(unknown)}{miss.problem if miss else ''}",
            where=f"{path}, column 'item_id', row {listed.index(unknown[0]) + 1:,}" if path is not None else None,
            remedy=miss.remedy if miss else "give item ids of the catalogue ('item_id'), or drop these",
        )
    return [row_of[item] for item in listed]
