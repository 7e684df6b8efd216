"""The nodes that an exact search is still to follow, the best of each prompt first.

`gti_cli.decoding.exact` follows them in rounds.
"""

from __future__ import annotations

import torch


class Frontier:
    """Nodes that are to be followed, of A prompts; each prompt's in descending order of score.

    Attributes:
        counts: (A,) int64 number of nodes of each prompt.
    """

    def __init__(
        self, row: torch.Tensor, slot: torch.Tensor, nodes: torch.Tensor, scores: torch.Tensor, prompts: int
    ) -> None:
        """Sort the nodes by prompt and score.

        Args:
            row: (n,) int64. The prompt of each node, from 0 to A - 1.
            slot: (n,) int64. The branch of its parent, as `BranchTree.step` counts it.
            nodes: (n,) int64.
            scores: (n,) float32 log-probabilities.
            prompts: A.
        """
        # Two stable sorts: by score, then by prompt. So each prompt's nodes stay in descending order of score.
        order = scores.sort(descending=True, stable=True).indices
        order = order[row[order].sort(stable=True).indices]
        self._row, self._slot, self._nodes, self._scores = row[order], slot[order], nodes[order], scores[order]
        self.counts = torch.bincount(row, minlength=prompts)
        # Rank of each node within its prompt: its place in the sorted list minus the place of the prompt's first node.
        self._rank = torch.arange(len(row), device=row.device) - (self.counts.cumsum(0) - self.counts)[self._row]

    def largest_count(self) -> int:
        """The largest number of nodes that a prompt has."""
        return int(self.counts.max())

    def select(self, prompts: torch.Tensor) -> Frontier:
        """The nodes of some prompts, given by their ascending numbers, which are numbered anew."""
        number = torch.full_like(self.counts, -1)
        number[prompts] = torch.arange(len(prompts), device=prompts.device)
        chosen = number[self._row] >= 0
        row, slot, nodes, scores = self._row[chosen], self._slot[chosen], self._nodes[chosen], self._scores[chosen]
        return Frontier(number[row], slot, nodes, scores, len(prompts))

    def grid(self, first: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Lay out the nodes of some ranks, one row for each prompt.

        Args:
            first: Lowest rank.
            width: Number of ranks, W.

        Returns:
            Parents' branches, nodes and scores, each (A, W); scores are -inf where a prompt has fewer nodes.
        """
        chosen = (self._rank >= first) & (self._rank < first + width)
        place = self._row[chosen], self._rank[chosen] - first
        parents = self._row.new_zeros(len(self.counts), width)
        nodes, scores = torch.zeros_like(parents), self._scores.new_full(parents.shape, -torch.inf)
        parents[place], nodes[place], scores[place] = self._slot[chosen], self._nodes[chosen], self._scores[chosen]
        return parents, nodes, scores
