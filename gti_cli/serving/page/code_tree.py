"""The tree of codes: what follows some first codes, how many items lie there, and which."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gti_cli.checkpoints.token_names import split_tokens
from gti_cli.errors import InputError
from gti_cli.geometry.sampling import evenly


@dataclass(frozen=True)
class Branch:
    """The items that share the first codes of their Semantic IDs.

    Attributes:
        code: The last of the shared codes, such as ``<b_3>``.
        items: The number of the items.
        examples: Places of some of them in the catalogue, evenly spread over the branch.
    """

    code: str
    items: int
    examples: list[int]


@dataclass(frozen=True)
class BranchList:
    """What lies behind some first codes.

    Attributes:
        codes: Those first codes.
        items: The number of items behind them.
        branches: The number of branches one level down; 0 behind a whole Semantic ID.
        shown: Some of these branches, the largest first.
        rows: Behind a whole Semantic ID, places of some of its items in the catalogue; otherwise empty.
    """

    codes: list[str]
    items: int
    branches: int
    shown: list[Branch]
    rows: list[int]


class CodeTree:
    """All Semantic IDs, sorted, so that the items of a branch are neighbours.

    Args:
        semantic_ids: The Semantic ID of each item of the catalogue, such as ``<a_12><b_3>``. All have equally many
            codes.
    """

    def __init__(self, semantic_ids: Sequence[str]) -> None:
        split = [split_tokens(text) for text in semantic_ids]
        levels = zip(*split, strict=True)
        self._codes: list[list[str]] = []  # of each level, the codes that occur
        columns = []
        for level in levels:
            names = sorted(set(level), key=_in_natural_order)
            number = {name: place for place, name in enumerate(names)}
            self._codes.append(names)
            columns.append(np.asarray([number[name] for name in level], np.int64))
        # lexsort takes the last key as the first to sort by.
        self._order: npt.NDArray[np.int64] = np.lexsort(columns[::-1]) if columns else np.empty(0, np.int64)
        self._columns = [column[self._order] for column in columns]

    @property
    def sizes(self) -> list[int]:
        """The number of different codes that items have at each level."""
        return [len(names) for names in self._codes]

    def behind(self, prefix: str, start: int, most: int, examples: int) -> BranchList:
        """List what lies behind some first codes.

        Args:
            prefix: The codes, such as ``<a_12>``; empty for the whole catalogue.
            start: How many branches, or items of one Semantic ID, are left out at the beginning.
            most: How many are listed at most.
            examples: How many example items a branch has at most.

        Raises:
            InputError: When no item's Semantic ID begins with these codes.
        """
        codes = split_tokens(prefix)
        first, behind = self._range_of(prefix, codes)
        if len(codes) == len(self._columns):
            rows = self._order[first:behind][start : start + most].tolist()
            return BranchList(codes, behind - first, 0, [], rows)
        column = self._columns[len(codes)][first:behind]
        numbers, starts, counts = np.unique(column, return_index=True, return_counts=True)
        shown = []
        for place in np.argsort(-counts, kind="stable")[start : start + most].tolist():
            spread = first + starts[place] + evenly(int(counts[place]), examples)
            name = self._codes[len(codes)][numbers[place]]
            shown.append(Branch(name, int(counts[place]), self._order[spread].tolist()))
        return BranchList(codes, behind - first, len(numbers), shown, [])

    def _range_of(self, prefix: str, codes: Sequence[str]) -> tuple[int, int]:
        """Return the range of the sorted items whose Semantic IDs begin with some codes."""
        first, behind = 0, len(self._order)
        exists = "".join(codes) == prefix and len(codes) <= len(self._columns)
        for names, column, code in zip(self._codes, self._columns, codes, strict=False):
            exists = exists and code in names
            if not exists:
                break
            ends = np.searchsorted(column[first:behind], [names.index(code), names.index(code) + 1])
            first, behind = first + int(ends[0]), first + int(ends[1])
        if not exists or (codes and first == behind):
            raise InputError(
                f"no item's Semantic ID begins with '{prefix[:100]}'",
                remedy="give codes that exist, level by level, such as those that the tree shows",
            )
        return first, behind


def _in_natural_order(name: str) -> list[tuple[int, str]]:
    """Return a key by which ``<a_9>`` comes before ``<a_10>``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
