"""Which items a search may find, for each prompt by itself: a mask over the trie, so that the trie is not built anew.

A node is allowed if one of the items below it is. A search that follows allowed nodes alone finds the lists of a search
over the trie of the allowed items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gti_cli.decoding.trie import Trie

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ItemChoice:
    """Which of N items may be listed. The shorter of the two lists is held: the items that may, or those that may not.

    Attributes:
        items: N.
        rows: (m,) int64 catalogue rows, ascending.
        are_allowed: Whether these are the items that may be listed; else they are those that may not.
    """

    items: int
    rows: Ints
    are_allowed: bool

    @classmethod
    def of_mask(cls, mask: Mask) -> ItemChoice:
        """The choice of the items that an (N,) mask allows."""
        is_short = 2 * int(np.count_nonzero(mask)) <= len(mask)
        return cls(len(mask), np.flatnonzero(mask if is_short else ~mask), is_short)

    def mask(self) -> Mask:
        """(N,) which items may be listed."""
        mask = np.full(self.items, not self.are_allowed)
        mask[self.rows] = self.are_allowed
        return mask

    def allows(self, rows: Ints) -> Mask:
        """Which of some catalogue rows may be listed."""
        if not len(self.rows):
            return np.full(len(rows), not self.are_allowed)
        places = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
        is_listed: Mask = self.rows[places] == rows
        return is_listed if self.are_allowed else ~is_listed


class AllowedItems:
    """The items that may be listed for each of P prompts. Masks over the trie are made for a batch at a time.

    Attributes:
        choices: M different choices among the items of the catalogue.
        numbers: (P,) int64. The choice that holds for each prompt.
    """

    def __init__(self, choices: Sequence[ItemChoice], numbers: Ints) -> None:
        """Take the choices, and which one holds for each prompt."""
        self.choices, self.numbers = choices, numbers
        self._last: tuple[Trie, Any, list[torch.Tensor]] | None = None

    @classmethod
    def same_for_all(cls, mask: Mask, prompts: int) -> AllowedItems:
        """One choice, (N,) bool, for all prompts."""
        return cls([ItemChoice.of_mask(mask)], np.zeros(prompts, dtype=np.int64))

    def of(self, prompt: int) -> ItemChoice:
        """The items that may be listed for a prompt."""
        return self.choices[int(self.numbers[prompt])]

    def nodes(self, prompts: Sequence[int], trie: Trie, device: torch.device) -> AllowedNodes:
        """The nodes of the trie of the whole catalogue that lead to items that some of the prompts may have.

        Args:
            prompts: Numbers of n prompts.
            trie: All semantic IDs of the catalogue.
            device: The model's device.
        """
        needed, numbers = np.unique(self.numbers[list(prompts)], return_inverse=True)
        # Batches often share their choices, above all where one holds for all prompts: those of the last are kept.
        key = str(device), needed.tolist()
        # The trie itself is held, not its id: another trie may get the id of one that is gone.
        if self._last is None or self._last[0] is not trie or self._last[1] != key:
            sizes = [np.diff(starts) for starts in (*trie.starts, trie.item_starts)]
            of_choices = [_allowed_nodes(trie, self.choices[number], sizes) for number in needed]
            levels = [torch.from_numpy(np.stack(level)).to(device) for level in zip(*of_choices, strict=True)]
            self._last = trie, key, levels
        return AllowedNodes(self._last[2], torch.from_numpy(numbers.reshape(-1).astype(np.int64)).to(device))


def _allowed_nodes(trie: Trie, choice: ItemChoice, sizes: Sequence[Ints]) -> list[Mask]:
    """Which nodes of the levels 1 to L lead to allowed items; the work is that of the shorter list.

    Args:
        trie: All semantic IDs of the catalogue.
        choice: Which items are allowed.
        sizes: L + 1 arrays. The number of children of each node of each level, and of items of each leaf.
    """
    counts = [len(nodes) for nodes in sizes[1:]]
    if choice.are_allowed:
        levels = [np.zeros(count, dtype=bool) for count in counts]
        paths = trie.paths(np.unique(trie.leaf_of_row[choice.rows]))
        for allowed, nodes in zip(levels, paths[1:], strict=True):
            allowed[nodes] = True
        return levels
    levels = [np.ones(count, dtype=bool) for count in counts]
    # The leaf of each forbidden item; in the loop the node above each forbidden node.
    below = trie.leaf_of_row[choice.rows]
    for level in reversed(range(trie.levels)):
        nodes, forbidden = np.unique(below, return_counts=True)
        nodes = nodes[forbidden == sizes[level + 1][nodes]]
        levels[level][nodes] = False
        below = np.searchsorted(trie.starts[level], nodes, side="right") - 1
    return levels


@dataclass(frozen=True)
class AllowedNodes:
    """The nodes of a trie that the searches of P prompts may follow.

    Attributes:
        levels: L bool tensors. ``levels[l]`` is (M, nodes of level l + 1): M different choices.
        numbers: (P,) int64. The choice that holds for each prompt.
    """

    levels: Sequence[torch.Tensor]
    numbers: torch.Tensor

    def select(self, prompts: Sequence[int] | Ints) -> AllowedNodes:
        """The nodes of some of the prompts, which are numbered anew."""
        chosen = torch.as_tensor(prompts, dtype=torch.long, device=self.numbers.device)
        return replace(self, numbers=self.numbers[chosen])

    def mask(self, level: int, prompts: torch.Tensor, first: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Set the scores of nodes that are not allowed to -inf.

        Args:
            level: Level of the parents; 0 is the root.
            prompts: (n,) int64 prompt of each parent.
            first: (n,) int64 first child of each parent, as `TrieTensors.children` returns it.
            scores: (n, C) scores of the children; those of columns behind the last child are -inf already.
        """
        allowed = self.levels[level]
        nodes = first[:, None] + torch.arange(scores.shape[1], device=scores.device)
        nodes = nodes.clamp_max(allowed.shape[1] - 1)
        return torch.where(allowed[self.numbers[prompts][:, None], nodes], scores, -torch.inf)
