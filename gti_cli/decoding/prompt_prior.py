"""A model's behaviour prior behind prompts: log-probabilities of codes with its bias, as the searches ask for them.

`gti_cli.decoding.prior_bias` explains and computes the bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from gti_cli.decoding.prior_bias import FLOOR, UNIFORM_SHARE, PriorTrie, PromptMasses, add_bias, code_bias
from gti_cli.decoding.trie import Trie

if TYPE_CHECKING:
    from gti_cli.decoding.runner import Runner

_CELLS_AT_ONCE = 1 << 21  # Numbers held at a time: prefixes times codes.


class ItemMasses(Protocol):
    """Masses of the N items of the catalogue behind P prompts: a (P, N) sparse matrix, or what computes its rows."""

    def __getitem__(self, numbers: list[int]) -> sparse.csr_matrix:
        """(n, N) masses behind n prompts, given by their numbers."""
        ...


@dataclass(frozen=True)
class SearchedTrie:
    """A trie of some of the items, and where its nodes are in the trie of all items.

    Attributes:
        nodes: L int64 tensors. ``nodes[l][n]`` is the node of the whole trie that has the prefix of node n of level l.
        starts: L int64 tensors, as in `Trie`.
        codes: L int64 tensors, as in `Trie`.
        max_children: L integers. The largest number of children of a node of each level.
    """

    nodes: Sequence[torch.Tensor]
    starts: Sequence[torch.Tensor]
    codes: Sequence[torch.Tensor]
    max_children: Sequence[int]

    @classmethod
    def of(cls, part: Trie, whole: Trie, rows: npt.NDArray[np.int64], device: torch.device) -> SearchedTrie:
        """Find the nodes.

        Args:
            part: Trie of some of the items.
            whole: Trie of all items.
            rows: (M,) rows of the catalogue of the items of ``part``.
            device: Where the search computes.
        """
        paths = whole.paths(whole.leaf_of_row[rows[part.items[part.item_starts[:-1]]]])
        first_leaf = np.arange(part.leaves, dtype=np.int64)
        nodes = []
        for level in reversed(range(part.levels)):
            first_leaf = first_leaf[part.starts[level][:-1]]
            nodes.append(paths[level][first_leaf])

        def on_device(arrays: Sequence[npt.NDArray[np.int64]]) -> list[torch.Tensor]:
            return [torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays]

        return cls(on_device(nodes[::-1]), on_device(part.starts), on_device(part.codes), part.max_children())


@dataclass(frozen=True)
class ModelPrior:
    """A prior with the weights that were learned together with a model.

    Attributes:
        trie: The whole catalogue.
        weights: (L,) float32 weight of each level.
        code_ids: L int64 tensors. Token id of each code of a level.
        uniform_share: Share of the mass that is spread evenly over all items.
        floor: Lowest value of the bias before it is weighted.
        searched: The trie that is searched, where it holds only some of the items. The bias is that of the whole
            catalogue all the same: so an item's score does not depend on which other items may be listed.
    """

    trie: PriorTrie
    weights: torch.Tensor
    code_ids: Sequence[torch.Tensor]
    uniform_share: float = UNIFORM_SHARE
    floor: float = FLOOR
    searched: SearchedTrie | None = None

    def searching(self, searched: SearchedTrie) -> ModelPrior:
        """The same prior for a search over a trie of some of the items."""
        return replace(self, searched=searched)

    def behind(self, masses: sparse.csr_matrix) -> PromptPrior:
        """The prior behind P prompts, from (P, N) masses of items."""
        return PromptPrior(self, self.trie.masses(masses))


@dataclass(frozen=True)
class PromptPrior:
    """A prior behind some prompts.

    Attributes:
        model: The prior.
        masses: Masses of the items behind the prompts.
    """

    model: ModelPrior
    masses: PromptMasses

    def select(self, prompts: Sequence[int] | npt.NDArray[np.int64]) -> PromptPrior:
        """The prior behind some of the prompts, which are numbered anew."""
        numbers = torch.as_tensor(prompts, dtype=torch.long, device=self.masses.numbers.device)
        return PromptPrior(self.model, self.masses.select(numbers))

    def log_probs(
        self, runner: Runner, level: int, prompts: torch.Tensor, nodes: torch.Tensor, features: torch.Tensor
    ) -> torch.Tensor:
        """Log-probabilities of all codes of a level, with the bias of the prior.

        Args:
            runner: The model.
            level: Level of ``nodes``; 0 is the root.
            prompts: (n,) int64 number of the prompt of each prefix.
            nodes: (n,) int64 node of each prefix in the trie that is searched.
            features: (n, …) the runner's features after each prefix.

        Returns:
            (n, K) float32.
        """
        model, ids = self.model, self.model.code_ids[level]
        if model.searched is not None:
            nodes = model.searched.nodes[level][nodes]
        out = torch.empty(len(nodes), len(ids), device=nodes.device)
        for start in range(0, len(nodes), rows := max(_CELLS_AT_ONCE // len(ids), 1)):
            part = slice(start, start + rows)
            plain = runner.log_probs(features[part], ids.expand(len(nodes[part]), -1))
            bias = code_bias(
                model.trie,
                self.masses,
                level,
                prompts[part],
                nodes[part],
                uniform_share=model.uniform_share,
                floor=model.floor,
            )
            out[part] = add_bias(plain, model.weights[level] * bias)
        return out

    def child_log_probs(
        self, runner: Runner, level: int, prompts: torch.Tensor, nodes: torch.Tensor, features: torch.Tensor
    ) -> torch.Tensor:
        """`log_probs` of the children of each node, in the columns of `TrieTensors.children`.

        Returns:
            (n, most children of a node). Columns after a node's last child hold any number.
        """
        trie = self.model.searched or self.model.trie
        children = trie.starts[level][nodes][:, None] + torch.arange(trie.max_children[level], device=nodes.device)
        codes = trie.codes[level][children.clamp_max(len(trie.codes[level]) - 1)]
        return self.log_probs(runner, level, prompts, nodes, features).gather(1, codes)
