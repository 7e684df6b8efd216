"""A trie of semantic IDs as arrays: which codes may follow which prefix, without a Python object for each node.

Level l has one node for every different prefix of l codes; the root is level 0. The children of a node are neighbours
in the next level, sorted by code. So a level is two arrays: where each node's children start, and each child's code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trie:
    """Semantic IDs of N items with L levels, as arrays.

    Attributes:
        starts: L int64 arrays. ``starts[l]`` has (nodes in level l) + 1 entries: the children of node n of level l are
            the nodes ``starts[l][n] … starts[l][n + 1] - 1`` of level l + 1.
        codes: L int64 arrays. ``codes[l][m]`` is the code that leads to node m of level l + 1; ascending among the
            children of a node.
        item_starts: (leaves + 1,) int64. The items of leaf m are ``items[item_starts[m] : item_starts[m + 1]]``.
        items: (N,) int64 rows of the catalogue, ascending within a leaf; several where items share a semantic ID.
        leaf_codes: (leaves, L) int32. The semantic ID of each leaf, in lexicographic order.
    """

    starts: list[Ints]
    codes: list[Ints]
    item_starts: Ints
    items: Ints
    leaf_codes: npt.NDArray[np.int32]

    @property
    def levels(self) -> int:
        """Number of codes in a semantic ID."""
        return len(self.codes)

    @property
    def leaves(self) -> int:
        """Number of different semantic IDs."""
        return len(self.leaf_codes)

    def items_of(self, leaf: int) -> Ints:
        """Catalogue rows of the items that have the semantic ID ``leaf``."""
        return self.items[self.item_starts[leaf] : self.item_starts[leaf + 1]]

    @cached_property
    def leaf_of_row(self) -> Ints:
        """The leaf of each row of the catalogue, (N,)."""
        leaves = np.empty(len(self.items), dtype=np.int64)
        leaves[self.items] = np.repeat(np.arange(self.leaves), np.diff(self.item_starts))
        return leaves

    def paths(self, leaves: Ints) -> list[Ints]:
        """The nodes from the root down to some leaves.

        Args:
            leaves: (n,) int64.

        Returns:
            L + 1 arrays (n,) int64: the root, the node of level 1 above each leaf, …, the leaves themselves.
        """
        paths = [leaves]
        for starts in reversed(self.starts):
            paths.append(np.searchsorted(starts, paths[-1], side="right") - 1)
        return paths[::-1]

    def max_children(self) -> list[int]:
        """The largest number of children that a node has, level by level."""
        return [int(np.diff(starts).max()) for starts in self.starts]


def build_trie(codes: npt.NDArray[np.int32]) -> Trie:
    """Build the trie by sorting, in O(N L) memory.

    Args:
        codes: (N, L) int32 semantic ID of each item.

    Raises:
        ValueError: When there are no items or no levels.
    """
    if codes.ndim != 2 or 0 in codes.shape:
        raise ValueError(f"codes have shape {codes.shape}; at least one item and one level are needed")
    count, levels = codes.shape
    order = np.lexsort(codes.T[::-1])  # By the first code, then the second, …; stable, so items ascend within a leaf.
    ordered = codes[order]
    # is_new[i, l]: the prefix of l + 1 codes of sorted row i differs from that of the row before, so a node starts.
    is_new = np.ones((count, levels), dtype=bool)
    is_new[1:] = np.logical_or.accumulate(ordered[1:] != ordered[:-1], axis=1)
    starts: list[Ints] = []
    child_codes: list[Ints] = []
    parents = np.zeros(1, dtype=np.int64)  # First sorted row of each node of the level above.
    for level in range(levels):
        first = np.flatnonzero(is_new[:, level])
        # A parent starts a new prefix at this level too, so its first row is among ``first``: at its first child.
        starts.append(np.append(np.searchsorted(first, parents), len(first)))
        child_codes.append(ordered[first, level].astype(np.int64))
        parents = first
    # The nodes of the last level are the leaves.
    return Trie(starts, child_codes, np.append(parents, count), order.astype(np.int64), ordered[parents])
