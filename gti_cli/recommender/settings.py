"""How lists are searched, and which requests are refused. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gti_cli.errors import InputError, list_some
from gti_cli.tables.near_misses import near_miss

SEARCHES = ("auto", "beam", "exact")
EXACT_PROMPTS = 300  # `auto` searches exactly for as many users or queries: loading the model costs more than that.
EXACT_PREFIXES = 2000  # Most prefixes that `auto` follows for one of them, about thirty times those of 20 beams.
NO_ITEM_LEFT = "--only and --exclude leave no item to recommend"


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
            InputError: When a value is out of range.
        """
        if self.k < 1 or self.batch_size < 1:
            raise InputError("-k and --batch-size must be positive", remedy="use 1 or more")
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
            raise InputError(f"item id {item!r} is not text", remedy="give each history as a list of item ids")
    unknown = list(dict.fromkeys(item for items in lists for item in items if item not in row_of))
    if unknown:
        miss = near_miss(unknown, row_of)
        raise InputError(
            f"items without a semantic ID: {list_some(unknown)}{miss.problem if miss else ''}",
            remedy="give item ids as the catalogue has them ('item_id')",
        )
    if not lists or not all(lists):
        raise InputError("the history is empty", remedy="give at least one item id")


def check_asked(
    histories: Sequence[Sequence[str]] | None, queries: Sequence[str] | None, row_of: Mapping[str, int]
) -> None:
    """Check that there are either histories of known items, or queries.

    Args:
        histories: Item ids of each user. None: queries are asked.
        queries: Words of each query. None: histories are asked.
        row_of: Row of the catalogue of each item.

    Raises:
        InputError: When it is neither or both, an item is unknown, or a request is empty.
    """
    if (histories is None) == (queries is None):
        problem = "it is not said for whom to recommend" if histories is None else "histories and queries at once"
        raise InputError(problem, remedy="give histories or queries")
    if isinstance(queries, str) or any(isinstance(history, str) for history in histories or ()):
        raise InputError(
            "one request is given in the place of a list of them", remedy='write [["A", "B"]], or ["red dress"]'
        )
    if histories is not None:
        check_history_items(histories, row_of)
    else:
        strip_queries(queries or ())


def strip_queries(texts: Iterable[str]) -> list[str]:
    """Remove the white space around queries.

    Raises:
        InputError: When a query is empty, or there is none.
    """
    stripped = [text.strip() for text in texts]
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
            remedy=miss.remedy if miss else "drop them from the list",
        )
    return [row_of[item] for item in listed]
