"""The items behind the new tokens: which items carry a code, and which code comes before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace


@dataclass(frozen=True)
class CodedItems:
    """N items with their texts and their semantic IDs.

    Attributes:
        texts: N texts, as `gti build-ids` encoded them.
        codes: (N, L) int32. The semantic ID of each item, one code per level.
    """

    texts: list[str]
    codes: npt.NDArray[np.int32]

    def carriers(self, tokens: NewTokens) -> list[npt.NDArray[np.int64]]:
        """For each new token, the row numbers of the items that carry its code; empty for tokens that are no codes."""
        empty = np.zeros(0, dtype=np.int64)
        # Sorting each level once makes the items of a code a slice, found by binary search.
        sorted_levels = []
        for level in range(self.codes.shape[1]):
            order = np.argsort(self.codes[:, level], kind="stable")
            sorted_levels.append((order, self.codes[order, level]))
        carriers = []
        for level, code in zip(tokens.levels.tolist(), tokens.codes.tolist(), strict=True):
            if not 0 <= level < len(sorted_levels):
                carriers.append(empty)
                continue
            order, sorted_codes = sorted_levels[level]
            start, end = np.searchsorted(sorted_codes, code, "left"), np.searchsorted(sorted_codes, code, "right")
            carriers.append(order[start:end])
        return carriers

    def parents(self, tokens: NewTokens) -> npt.NDArray[np.int64]:
        """For each new token, the code (n,) of the level before that most often precedes it; -1 for none.

        In a residual quantizer a code may follow several codes of the level before. The most frequent one is its
        parent, and the smallest of equally frequent ones. Codes of the first level, codes that no item carries and
        tokens that are no codes have no parent.
        """
        parents = np.full(len(tokens.names), -1, dtype=np.int64)
        for row, items in enumerate(self.carriers(tokens)):
            level = int(tokens.levels[row])
            if level >= 1 and len(items):
                parents[row] = int(np.bincount(self.codes[items, level - 1]).argmax())
        return parents


def read_coded_items(space: Workspace) -> CodedItems:
    """Read the items and their semantic IDs from a workspace.

    Raises:
        InputError: When ``items.parquet`` and ``semantic_ids.parquet`` do not list the same items in the same order.
    """
    ids = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    path = space.path("items.parquet")
    items = tables.read(path, ["item_id", "text"])
    if tables.ids(items, "item_id", path) != ids.item_ids:
        raise InputError(
            "lists other items than semantic_ids.parquet", where=str(path), remedy="run 'gti build-ids --force' again"
        )
    return CodedItems(tables.strings(items, "text", path), ids.codes)
