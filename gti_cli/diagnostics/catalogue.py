"""What the catalogue says about the new tokens: which items carry a code, and which code comes before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace


@dataclass(frozen=True)
class Catalogue:
    """N items: ``texts`` as they were encoded, ``codes`` (N, L) int32 of their semantic IDs."""

    texts: list[str]
    codes: npt.NDArray[np.int32]

    def carriers(self, tokens: NewTokens) -> list[npt.NDArray[np.int64]]:
        """For each new token the items (rows) that carry its code; none for tokens that are no codes."""
        empty = np.zeros(0, dtype=np.int64)
        by_level = []
        for level in range(self.codes.shape[1]):
            order = np.argsort(self.codes[:, level], kind="stable")
            by_level.append((order, self.codes[order, level]))
        found = []
        for level, code in zip(tokens.levels.tolist(), tokens.codes.tolist(), strict=True):
            if not 0 <= level < len(by_level):
                found.append(empty)
                continue
            order, ordered = by_level[level]
            found.append(order[np.searchsorted(ordered, code, "left") : np.searchsorted(ordered, code, "right")])
        return found

    def parents(self, tokens: NewTokens) -> npt.NDArray[np.int64]:
        """For each new token the code (n,) that most often comes right before its own; -1 where there is none.

        A code of a residual quantiser may follow several codes; the most frequent stands for them (of
        equally frequent ones the smaller).
        Codes of the first level, codes that no item has, and other tokens have no parent.
        """
        parents = np.full(len(tokens.names), -1, dtype=np.int64)
        for row, items in enumerate(self.carriers(tokens)):
            level = int(tokens.levels[row])
            if level >= 1 and len(items):
                parents[row] = int(np.bincount(self.codes[items, level - 1]).argmax())
        return parents


def read_catalogue(space: Workspace) -> Catalogue:
    """The items of the workspace's semantic IDs.

    Raises:
        InputError: the two tables do not list the same items.
    """
    ids = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    path = space.path("items.parquet")
    items = tables.read(path, ["item_id", "text"])
    if tables.ids(items, "item_id", path) != ids.item_ids:
        raise InputError(
            "lists other items than semantic_ids.parquet", where=str(path), remedy="run 'gti build-ids --force' again"
        )
    return Catalogue(tables.strings(items, "text", path), ids.codes)
