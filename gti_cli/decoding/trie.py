"""A trie of semantic IDs as arrays: which codes may follow which prefix, without a Python object for each node.

Level l has one node for every different prefix of l codes; the root is level 0. The children of a node are one run of
the next level's nodes, sorted by code, so a level is two arrays: where each node's run starts, and each child's code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trie:
    """Semantic IDs of N items with L levels, as arrays.

    Attributes:
        starts: L arrays; ``starts[l]`` has (nodes in level l) + 1 entries: the children of node n of level l are the
            nodes ``starts[l][n] … starts[l][n + 1] - 1`` of level l + 1.
        codes: L arrays; ``codes[l][m]`` is the code that leads to node m of level l + 1. Ascending within a run.
        item_starts: (leaves + 1,); the items of leaf m are ``items[item_starts[m] : item_starts[m + 1]]``.
        items: (N,) rows of the catalogue, in ascending order within a leaf; several where items share a semantic ID.
        leaf_codes: (leaves, L) int32, the semantic ID of each leaf, in lexicographic order.
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
        """Rows of the items that have the semantic ID ``leaf``."""
        return self.items[self.item_starts[leaf] : self.item_starts[leaf + 1]]

    def widest(self) -> list[int]:
        """The largest number of children that a node has, level by level."""
        return [int(np.diff(starts).max()) for starts in self.starts]


def build_trie(codes: npt.NDArray[np.int32]) -> Trie:
    """Build the trie of ``codes`` (N, L) by sorting, O(N L) memory.

    Raises:
        ValueError: no items or no levels.
    """
    if codes.ndim != 2 or 0 in codes.shape:
        raise ValueError(f"codes have shape {codes.shape}; at least one item and one level are needed")
    count, levels = codes.shape
    order = np.lexsort(codes.T[::-1])  # by the first code, then the second, …; stable, so items ascend within a leaf
    ordered = codes[order]
    # new[i, l]: the prefix of l + 1 codes of row i differs from that of the row before.
    new = np.ones((count, levels), dtype=bool)
    new[1:] = np.logical_or.accumulate(ordered[1:] != ordered[:-1], axis=1)
    starts: list[Ints] = []
    labels: list[Ints] = []
    parents = np.zeros(1, dtype=np.int64)  # first sorted row of each node of the level above
    for level in range(levels):
        first = np.flatnonzero(new[:, level])
        starts.append(np.append(np.searchsorted(first, parents), len(first)))
        labels.append(ordered[first, level].astype(np.int64))
        parents = first
    return Trie(starts, labels, np.append(parents, count), order.astype(np.int64), ordered[parents])
