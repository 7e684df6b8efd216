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


@dataclass(frozen=True)
class AllowedItems:
    """The items that may be listed for each of P prompts.

    Attributes:
        masks: (M, N) bool. M different choices among the N items of the catalogue.
        numbers: (P,) int64. The choice that holds for each prompt.
    """

    masks: npt.NDArray[np.bool_]
    numbers: npt.NDArray[np.int64]

    @classmethod
    def same_for_all(cls, mask: npt.NDArray[np.bool_], prompts: int) -> AllowedItems:
        """One choice, (N,) bool, for all prompts."""
        return cls(mask[None], np.zeros(prompts, dtype=np.int64))

    def of(self, prompt: int) -> npt.NDArray[np.bool_]:
        """(N,) which items may be listed for a prompt."""
        mask: npt.NDArray[np.bool_] = self.masks[self.numbers[prompt]]
        return mask

    def nodes(self, trie: Trie, device: torch.device) -> AllowedNodes:
        """The nodes of the trie of the whole catalogue that lead to allowed items, on the model's device."""
        # Every leaf has an item and every node a child, so no range that `reduceat` joins is empty.
        mask = np.logical_or.reduceat(self.masks[:, trie.items], trie.item_starts[:-1], axis=1)
        levels = [mask]
        for starts in reversed(trie.starts[1:]):
            levels.append(np.logical_or.reduceat(levels[-1], starts[:-1], axis=1))
        on_device = [torch.from_numpy(level).to(device) for level in reversed(levels)]
        return AllowedNodes(on_device, torch.from_numpy(self.numbers).to(device))


@dataclass(frozen=True)
class AllowedNodes:
    """The nodes of a trie that the searches of P prompts may follow.

    Attributes:
        levels: L bool tensors. ``levels[l]`` is (M, nodes of level l + 1): M different choices.
        numbers: (P,) int64. The choice that holds for each prompt.
    """

    levels: Sequence[torch.Tensor]
    numbers: torch.Tensor

    def select(self, prompts: Sequence[int] | npt.NDArray[np.int64]) -> AllowedNodes:
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
