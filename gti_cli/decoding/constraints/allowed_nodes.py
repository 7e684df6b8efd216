"""Which items a search may find, for each prompt by itself: a mask over the trie, so that the trie is not built anew.

A node is allowed if one of the items below it is. A search that follows allowed nodes alone finds the lists of a search
over the trie of the allowed items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from gti_cli.decoding.trie import Trie

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class AllowedItems:
    """The items that may be listed for each of P prompts.

    Attributes:
        masks: (M, N) bool. M different choices among the N items of the catalogue.
        numbers: (P,) int64. The choice that holds for each prompt.
    """

    masks: Mask
    numbers: Ints

    @classmethod
    def same_for_all(cls, mask: Mask, prompts: int) -> AllowedItems:
        """One choice, (N,) bool, for all prompts."""
        return cls(mask[None], np.zeros(prompts, dtype=np.int64))

    def of(self, prompt: int) -> Mask:
        """(N,) which items may be listed for a prompt."""
        mask: Mask = self.masks[self.numbers[prompt]]
        return mask

    def nodes(self, trie: Trie, device: torch.device) -> AllowedNodes:
        """The nodes of the trie of the whole catalogue that lead to allowed items, on the model's device."""
        sizes = [np.diff(starts) for starts in (*trie.starts, trie.item_starts)]  # children, at last items, of a node
        of_masks = [_allowed_nodes(trie, mask, sizes) for mask in self.masks]
        levels = [torch.from_numpy(np.stack(level)).to(device) for level in zip(*of_masks, strict=True)]
        return AllowedNodes(levels, torch.from_numpy(self.numbers).to(device))


def _allowed_nodes(trie: Trie, mask: Mask, sizes: Sequence[Ints]) -> list[Mask]:
    """Which nodes of the levels 1 to L lead to allowed items; the work is that of the shorter list.

    Args:
        trie: All semantic IDs of the catalogue.
        mask: (N,) which items are allowed.
        sizes: L + 1 arrays. The number of children of each node of each level, and of items of each leaf.
    """
    counts = [len(nodes) for nodes in sizes[1:]]
    if 2 * np.count_nonzero(mask) <= len(mask):
        levels = [np.zeros(count, dtype=bool) for count in counts]
        paths = trie.paths(np.unique(trie.leaf_of_row[np.flatnonzero(mask)]))
        for allowed, nodes in zip(levels, paths[1:], strict=True):
            allowed[nodes] = True
        return levels
    levels = [np.ones(count, dtype=bool) for count in counts]
    # The leaf of each forbidden item; in the loop the node above each forbidden node.
    below = trie.leaf_of_row[np.flatnonzero(~mask)]
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
