"""A model's behaviour prior behind prompts: log-probabilities of codes with its bias, as the searches ask for them.

`gti_cli.decoding.prior_bias` explains and computes the bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from gti_cli.decoding.prior_bias import FLOOR, UNIFORM_SHARE, PriorTrie, PromptMasses, add_bias, code_bias

if TYPE_CHECKING:
    from gti_cli.decoding.runner import Runner

_CELLS_AT_ONCE = 1 << 21  # Numbers held at a time: prefixes times codes.


class ItemMasses(Protocol):
    """Masses of N items in C channels behind P prompts: a (P, C * N) sparse matrix, or what computes its rows."""

    def __getitem__(self, numbers: list[int]) -> sparse.csr_matrix:
        """(n, C * N) masses behind n prompts, given by their numbers."""
        ...


@dataclass(frozen=True)
class ModelPrior:
    """A prior with the weights that were learned together with a model.

    Attributes:
        trie: The whole catalogue.
        weights: (C, L) float32 weight of each channel of the prior at each level; (L,) where there is one channel.
        code_ids: L int64 tensors. Token id of each code of a level.
        uniform_share: Share of the mass that is spread evenly over all items.
        floor: Lowest value of the bias before it is weighted.
    """

    trie: PriorTrie
    weights: torch.Tensor
    code_ids: Sequence[torch.Tensor]
    uniform_share: float = UNIFORM_SHARE
    floor: float = FLOOR

    def behind(self, masses: sparse.csr_matrix) -> PromptPrior:
        """The prior behind P prompts, from (P, C * N) masses of items, those of the C channels side by side."""
        return PromptPrior(self, self.trie.channel_masses(masses))

    def bias(
        self, masses: Sequence[PromptMasses], level: int, prompts: torch.Tensor, nodes: torch.Tensor
    ) -> torch.Tensor:
        """What is added to the logits of all codes of a level: the weighted biases of all channels.

        Args:
            masses: C channels' masses of the items behind the prompts.
            level: Level of the codes; 0 follows the root.
            prompts: (n,) int64 number of the prompt.
            nodes: (n,) int64 node of the prefix in the trie of the whole catalogue.

        Returns:
            (n, K) float32.
        """
        weights = self.weights.view(len(masses), -1)[:, level]
        biases = [
            code_bias(self.trie, channel, level, prompts, nodes, uniform_share=self.uniform_share, floor=self.floor)
            for channel in masses
        ]
        return sum(
            (weight * bias for weight, bias in zip(weights[1:], biases[1:], strict=True)), weights[0] * biases[0]
        )


@dataclass(frozen=True)
class PromptPrior:
    """A prior behind some prompts.

    Attributes:
        model: The prior.
        masses: Masses of the items behind the prompts, of each channel.
    """

    model: ModelPrior
    masses: Sequence[PromptMasses]

    def select(self, prompts: Sequence[int] | npt.NDArray[np.int64]) -> PromptPrior:
        """The prior behind some of the prompts, which are numbered anew."""
        numbers = torch.as_tensor(prompts, dtype=torch.long, device=self.masses[0].numbers.device)
        return PromptPrior(self.model, [channel.select(numbers) for channel in self.masses])

    def log_probs(
        self, runner: Runner, level: int, prompts: torch.Tensor, nodes: torch.Tensor, features: torch.Tensor
    ) -> torch.Tensor:
        """Log-probabilities of all codes of a level, with the bias of the prior.

        Args:
            runner: The model.
            level: Level of ``nodes``; 0 is the root.
            prompts: (n,) int64 number of the prompt of each prefix.
            nodes: (n,) int64 node of each prefix in the trie of the whole catalogue.
            features: (n, …) the runner's features after each prefix.

        Returns:
            (n, K) float32.
        """
        model, ids = self.model, self.model.code_ids[level]
        out = torch.empty(len(nodes), len(ids), device=nodes.device)
        for start in range(0, len(nodes), rows := max(_CELLS_AT_ONCE // len(ids), 1)):
            part = slice(start, start + rows)
            plain = runner.log_probs(features[part], ids.expand(len(nodes[part]), -1))
            out[part] = add_bias(plain, model.bias(self.masses, level, prompts[part], nodes[part]))
        return out

    def child_log_probs(
        self, runner: Runner, level: int, prompts: torch.Tensor, nodes: torch.Tensor, features: torch.Tensor
    ) -> torch.Tensor:
        """`log_probs` of the children of each node, in the columns of `TrieTensors.children`.

        Returns:
            (n, most children of a node). Columns after a node's last child hold any number.
        """
        trie = self.model.trie
        children = trie.starts[level][nodes][:, None] + torch.arange(trie.max_children[level], device=nodes.device)
        codes = trie.codes[level][children.clamp_max(len(trie.codes[level]) - 1)]
        return self.log_probs(runner, level, prompts, nodes, features).gather(1, codes)
