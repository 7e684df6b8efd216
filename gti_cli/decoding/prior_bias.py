"""A behaviour prior inside the model: what is added to the logits of the codes, from masses of items.

A *prior* gives every item a mass after a history, for example by how often it followed the last items. Summed over the
trie, the masses are probabilities of the next code: P(code | prefix) = M(prefix + code) / M(prefix), where M is the
mass of all items below a prefix. The logits of the K codes of level l get w_l * log(P(code | prefix) * K), with w_l
learned together with the model. A code that is as likely as any other (P = 1 / K) gets nothing. So the model learns
what the prior does not know.

Where a prior has several *channels*, each adds a bias of its own, with weights of its own.

A share of the mass is spread evenly over all items: an item without mass stays possible, and a history of which the
prior knows nothing adds hardly anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
            """The array on the given device."""
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.first_leaf = [on_device(leaves) for leaves in reversed(ranges)]
        self.first_item = [on_device(trie.item_starts[leaves]) for leaves in reversed(ranges)]
        self.starts, self.codes = [on_device(a) for a in trie.starts], [on_device(a) for a in trie.codes]
        self.max_children = trie.max_children()
        # The node of level 1 above each leaf.
        self._child_of_leaf = np.repeat(np.arange(len(trie.codes[0])), np.diff(ranges[-2]))

    def channel_masses(self, masses: sparse.csr_matrix) -> list[PromptMasses]:
        """Sum the masses of several channels by leaf, each for itself.

        Args:
            masses: (P, C * N) masses, none negative; the columns of a channel are the catalogue's rows.
        """
        items = len(self._leaf_of_row)
        if masses.shape[1] == items:
            return [self.masses(masses)]
        return [self.masses(masses[:, start : start + items]) for start in range(0, masses.shape[1], items)]

    def masses(self, masses: sparse.csr_matrix) -> PromptMasses:
        """Sum the masses of items behind P prompts by leaf.

        Args:
            masses: (P, N) masses, none negative; columns are catalogue rows.
        """
        by_leaf = (masses.data, self._leaf_of_row[masses.indices], masses.indptr)
        # Turning a sparse matrix twice sorts the entries of each row in linear time.
        by_leaf = sparse.csr_matrix(by_leaf, shape=(masses.shape[0], self._leaves)).tocsc().tocsr()
        rows = np.repeat(np.arange(masses.shape[0], dtype=np.int64), np.diff(by_leaf.indptr))
        total = np.asarray(by_leaf.sum(axis=1), dtype=np.float64).ravel()
        whole = np.rint(by_leaf.data * (_WHOLE / np.where(total > 0, total, 1.0))[rows])
        keys = rows * self._leaves + by_leaf.indices
        below_root = len(self.first_leaf[1]) - 1
        cells = rows * below_root + self._child_of_leaf[by_leaf.indices]
        # Sums of whole numbers are exact in float64, too, up to 2 ** 53.
        first_level = np.bincount(cells, whole, minlength=masses.shape[0] * below_root)
        arrays = keys, np.append(0, np.cumsum(whole.astype(np.int64))), first_level.astype(np.int64)
        on_device = [torch.from_numpy(array).to(self._device) for array in arrays]
        numbers = torch.arange(masses.shape[0], device=self._device)
        return PromptMasses(on_device[0], on_device[1], on_device[2].view(-1, below_root), numbers, self._leaves)


@dataclass(frozen=True)
class PromptMasses:
    """The masses of items behind some prompts, cumulated so that the mass of any range of leaves is a difference.

    Attributes:
        keys: (n,) int64, ascending: number of the prompt times number of leaves, plus the leaf.
        sums: (n + 1,) int64 cumulative masses in the order of ``keys``; those of a prompt sum to about `_WHOLE`, or 0.
        first_level: (P, C) int64 mass below each of the C nodes of level 1.
        numbers: (P,) int64 numbers of the prompts in ``keys`` and ``first_level``.
        leaves: Number of leaves of the trie.
    """

    keys: torch.Tensor
    sums: torch.Tensor
    first_level: torch.Tensor
    numbers: torch.Tensor
    leaves: int

    def select(self, prompts: torch.Tensor) -> PromptMasses:
        """The masses of some prompts, which are numbered anew."""
        return replace(self, numbers=self.numbers[prompts])

    def total(self, prompts: torch.Tensor) -> torch.Tensor:
        """(n,) int64 mass of all items behind n prompts."""
        return self.first_level[self.numbers[prompts]].sum(1)

    def below_root(self, prompts: torch.Tensor) -> torch.Tensor:
        """(n, C) int64 mass below each node of level 1, behind n prompts."""
        return self.first_level[self.numbers[prompts]]

    def between(self, prompts: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
        """Mass of neighbouring ranges of leaves.

        Args:
            prompts: (n,) int64.
            bounds: (n, m + 1) int64, ascending. First leaf of each range, which is the end of the range before.

        Returns:
            (n, m) int64.
        """
        return self.sums[torch.searchsorted(self.keys, (self.numbers[prompts] * self.leaves)[:, None] + bounds)].diff()


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
    size, real = trie.sizes[level], _real(nodes.device)
    # The children of a node are neighbours, so each begins where the one before ends. Columns behind the last child
    # stay at its end: nothing is between their bounds.
    first, end = trie.starts[level][nodes][:, None], trie.starts[level][nodes + 1][:, None]
    column = torch.arange(trie.max_children[level] + 1, device=nodes.device)
    bounds = torch.minimum(first + column, end)
    total = masses.total(prompts)[:, None]
    leaves = trie.first_leaf[level + 1][bounds]
    mass = masses.between(prompts, leaves) if level else masses.below_root(prompts)
    # A prompt of which the prior knows nothing has all its mass spread evenly.
    share = torch.where(total > 0, uniform_share, 1.0).to(real)
    spread = trie.first_item[level + 1][bounds].diff().to(real) / trie.first_item[-1][-1]
    of_child = share * spread + (1 - share) * (mass.to(real) / total.clamp_min(1))
    ratio = (of_child / of_child.sum(1, keepdim=True) * size).clamp_min(float(np.exp(floor)))
    # Columns without a child go to a code behind the last one, which is cut off.
    is_child = bounds[:, :-1] < end
    codes = torch.where(is_child, trie.codes[level][bounds[:, :-1].clamp_max(len(trie.codes[level]) - 1)], size)
    bias = torch.full((len(nodes), size + 1), floor, dtype=torch.float32, device=nodes.device)
    return bias.scatter_(1, codes, ratio.log().float())[:, :size]


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
