"""A behaviour prior inside the model: what is added to the logits of the codes, from masses of items.

A *prior* gives every item a mass after a history, for example by how often it followed the last items. Summed over the
trie, the masses are probabilities of the next code: P(code | prefix) = M(prefix + code) / M(prefix), where M is the
mass of all items below a prefix. The logits of the K codes of level l get w_l * log(P(code | prefix) * K), with w_l
learned together with the model. A code that is as likely as any other (P = 1 / K) gets nothing. So the model learns
what the prior does not know.

A share of the mass is spread evenly over all items: an item without mass stays possible, and a history of which the
prior knows nothing adds hardly anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from gti_cli.decoding.trie import Trie

# The masses of a prompt are rounded to whole numbers with this sum. Sums of whole numbers are exact: so the bias behind
# a prompt is the same to the bit, whatever other prompts are in the batch. Masses below 1e-12 of the sum are dropped.
_WHOLE = 1 << 40
UNIFORM_SHARE = 0.3  # of the mass is spread evenly
FLOOR = -6.0  # Lowest value of log(P * K), also for a code that leads to no item: the model can still outvote it.


class PriorTrie:
    """The trie of a catalogue as a prior needs it: ranges of leaves below each node, and how many items they hold.

    Attributes:
        sizes: L codebook sizes.
        codes: L int64 tensors. ``codes[l][m]`` is the code that leads to node m of level l + 1.
        starts: L int64 tensors, as in `Trie`.
        first_leaf: L + 1 int64 tensors. The leaves below node n of level l begin at ``first_leaf[l][n]`` and end
            before ``first_leaf[l][n + 1]``.
        first_item: L + 1 int64 tensors. The same as ranges of items, in the order of their leaves.
    """

    def __init__(self, trie: Trie, sizes: Sequence[int], device: torch.device) -> None:
        """Compute the ranges.

        Args:
            trie: All semantic IDs of the catalogue.
            sizes: Codes of each level.
            device: Where the biases are computed.
        """
        self.sizes = tuple(sizes)
        ranges = [np.arange(trie.leaves + 1, dtype=np.int64)]
        for starts in reversed(trie.starts):
            ranges.append(ranges[-1][starts])
        self._leaf_of_row, self._leaves, self._device = trie.leaf_of_row, trie.leaves, device

        def on_device(array: npt.NDArray[np.int64]) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.first_leaf = [on_device(leaves) for leaves in reversed(ranges)]
        self.first_item = [on_device(trie.item_starts[leaves]) for leaves in reversed(ranges)]
        self.starts, self.codes = [on_device(a) for a in trie.starts], [on_device(a) for a in trie.codes]
        self.max_children = trie.max_children()

    def masses(self, masses: sparse.csr_matrix) -> PromptMasses:
        """Sum the masses of items behind P prompts by leaf.

        Args:
            masses: (P, N) masses, none negative; columns are catalogue rows.
        """
        rows = np.repeat(np.arange(masses.shape[0], dtype=np.int64), np.diff(masses.indptr))
        keys = rows * self._leaves + self._leaf_of_row[masses.indices]
        order = np.argsort(keys, kind="stable")
        total = np.asarray(masses.sum(axis=1), dtype=np.float64).ravel()[rows]
        whole = np.rint(masses.data / np.where(total > 0, total, 1.0) * _WHOLE).astype(np.int64)
        sums = np.append(0, np.cumsum(whole[order]))
        return PromptMasses(
            torch.from_numpy(keys[order]).to(self._device),
            torch.from_numpy(sums).to(self._device),
            torch.arange(masses.shape[0], device=self._device),
            self._leaves,
        )


@dataclass(frozen=True)
class PromptMasses:
    """The masses of items behind some prompts, cumulated so that the mass of any range of leaves is a difference.

    Attributes:
        keys: (n,) int64, ascending: number of the prompt times number of leaves, plus the leaf.
        sums: (n + 1,) int64 cumulative masses in the order of ``keys``; those of a prompt sum to about `_WHOLE`, or 0.
        numbers: (P,) int64 numbers of the prompts in ``keys``.
        leaves: Number of leaves of the trie.
    """

    keys: torch.Tensor
    sums: torch.Tensor
    numbers: torch.Tensor
    leaves: int

    def select(self, prompts: torch.Tensor) -> PromptMasses:
        """The masses of some prompts, which are numbered anew."""
        return PromptMasses(self.keys, self.sums, self.numbers[prompts], self.leaves)

    def between(self, prompts: torch.Tensor, first: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """Mass of ranges of leaves.

        Args:
            prompts: (n,) int64.
            first: (n, …) int64 first leaf of each range.
            end: The same shape. First leaf behind each range.

        Returns:
            Int64 of the shape of ``first``.
        """
        base = (self.numbers[prompts] * self.leaves).view(-1, *[1] * (first.dim() - 1))
        low, high = torch.searchsorted(self.keys, base + first), torch.searchsorted(self.keys, base + end)
        return self.sums[high] - self.sums[low]


@torch.no_grad()
def code_bias(
    trie: PriorTrie,
    masses: PromptMasses,
    level: int,
    prompts: torch.Tensor,
    nodes: torch.Tensor,
    *,
    uniform_share: float = UNIFORM_SHARE,
    floor: float = FLOOR,
) -> torch.Tensor:
    """Compute log(P(code | prefix) * K) of all codes of a level.

    Args:
        trie: The catalogue.
        masses: Masses of the items behind P prompts.
        level: Level of the codes; 0 follows the root.
        prompts: (n,) int64 number of the prompt.
        nodes: (n,) int64 node of the prefix, of level ``level``.
        uniform_share: Share of the mass that is spread evenly over all items.
        floor: Lowest value; that of a code that leads to no item.

    Returns:
        (n, K) float32.
    """
    size = trie.sizes[level]
    first = trie.starts[level][nodes]
    column = torch.arange(trie.max_children[level], device=nodes.device)
    is_child = column < (trie.starts[level][nodes + 1] - first)[:, None]
    children = torch.where(is_child, first[:, None] + column, first[:, None])
    leaves, items = trie.first_leaf[level + 1], trie.first_item[level + 1]
    mass = masses.between(prompts, leaves[children], leaves[children + 1])
    everywhere = torch.zeros_like(nodes), torch.full_like(nodes, masses.leaves)
    total = masses.between(prompts, *everywhere)[:, None]
    real = _real(nodes.device)
    # A prompt of which the prior knows nothing has all its mass spread evenly.
    share = torch.where(total > 0, uniform_share, 1.0).to(real)
    spread = (items[children + 1] - items[children]).to(real) / trie.first_item[-1][-1]
    of_child = share * spread + (1 - share) * (mass.to(real) / total.clamp_min(1))
    of_child = of_child.masked_fill(~is_child, 0.0)
    ratio = (of_child / of_child.sum(1, keepdim=True) * size).clamp_min(float(np.exp(floor)))
    bias = torch.full((len(nodes), size), floor, dtype=torch.float32, device=nodes.device)
    row, place = is_child.nonzero(as_tuple=True)
    bias[row, trie.codes[level][children[row, place]]] = ratio[row, place].log().float()
    return bias


def _real(device: torch.device) -> torch.dtype:
    """The most precise number format of a device."""
    return torch.float32 if device.type == "mps" else torch.float64


def add_bias(log_probs: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Add a bias to the logits of some tokens, given their log-probabilities under a larger vocabulary.

    Adding b to the logits of these tokens and nothing to the others multiplies the normaliser of the softmax by
    1 - sum(p) + sum(p * exp(b)). So the logits of the other tokens are not needed.

    Args:
        log_probs: (n, K) log-probabilities of K different tokens.
        bias: (n, K) what is added to their logits.

    Returns:
        (n, K) log-probabilities with the bias.
    """
    precise, factor = log_probs.to(_real(log_probs.device)), bias.to(_real(log_probs.device)).exp()
    probabilities = precise.exp()
    others = (1 - probabilities.sum(1, keepdim=True)).clamp_min(0)
    normaliser = others + (probabilities * factor).sum(1, keepdim=True)
    return (precise + bias - normaliser.log()).to(log_probs.dtype)
