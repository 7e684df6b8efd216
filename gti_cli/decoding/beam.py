"""Beam search over the trie of semantic IDs: every hypothesis is an item that exists.

The score of a hypothesis is the sum of its tokens' log-probabilities under the softmax over the *whole* vocabulary, as
in constrained ``generate`` of Hugging Face: the trie forbids continuations, it does not renormalise over the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from gti_cli.decoding.branches import Prefix
from gti_cli.decoding.probe import make_runner
from gti_cli.decoding.runner import Runner
from gti_cli.decoding.trie import Trie

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Ranking:
    """The best semantic IDs of each prompt.

    Attributes:
        leaves: (B, k) int64 leaves of the trie, best first; -1 where the trie has fewer than k.
        scores: (B, k) float32 log-probabilities; -inf where there is no leaf.
    """

    leaves: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]


class TrieTensors:
    """A trie on the model's device, with the token id of each node's code.

    Attributes:
        tokens: L tensors; ``tokens[l][m]`` is the token that leads to node m of level l + 1.
    """

    def __init__(self, trie: Trie, token_ids: Sequence[npt.NDArray[np.int64]], device: torch.device) -> None:
        self.levels = trie.levels
        self.starts = [torch.from_numpy(np.ascontiguousarray(starts)).to(device) for starts in trie.starts]
        self.widest = trie.widest()
        # Where every node has the same number of children, as the root has, nothing need be masked.
        self._even = [
            int(starts[-1]) == (len(starts) - 1) * widest
            for starts, widest in zip(trie.starts, self.widest, strict=True)
        ]
        # Behind the last node stand spare tokens, so that a window of the widest node's size fits behind every node.
        self.tokens = [
            torch.from_numpy(np.pad(ids[codes], (0, widest - 1), mode="edge")).to(device)
            for ids, codes, widest in zip(token_ids, trie.codes, self.widest, strict=True)
        ]

    def children(self, level: int, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of the children of ``nodes`` (n,) of ``level``, (n, widest), and the number of the first child, (n,).

        Children are numbered one after the other: the one in column j is ``first + j``. Behind a node's last child
        stand tokens of others; `mask` tells.
        """
        first = self.starts[level][nodes]
        return self.tokens[level].unfold(0, self.widest[level], 1).index_select(0, first), first

    def mask(self, level: int, nodes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """``scores`` (n, widest) of `children`, -inf where there is no child."""
        if self._even[level]:
            return scores
        count = self.starts[level][nodes + 1] - self.starts[level][nodes]
        allowed = torch.arange(self.widest[level], device=nodes.device) < count[:, None]
        return torch.where(allowed, scores, -torch.inf)


def beam_search(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], trie: TrieTensors, beams: int, pad_id: int
) -> Ranking:
    """Find the best ``beams`` semantic IDs for each prompt.

    Args:
        model: a causal LM in evaluation mode. prompts: B token-id lists of any lengths, none empty.
        trie: from `TrieTensors`, on the model's device. beams: hypotheses kept for each prompt at every level.
        pad_id: fills ragged prompts on the left; never attended to.

    Returns:
        `Ranking` with k = ``beams``. Ties are broken by the lower node, so the result is deterministic.
    """
    return beam_search_behind(Prefix(make_runner(model), prompts, trie.levels), prompts, trie, beams, pad_id)


@torch.inference_mode()
def beam_search_behind(
    prefix: Prefix, prompts: Sequence[Sequence[int]], trie: TrieTensors, beams: int, pad_id: int
) -> Ranking:
    """`beam_search` for some of the prompts that ``prefix`` was made for."""
    state = prefix.prefill(prompts, pad_id)
    nodes = torch.zeros(len(prompts), 1, dtype=torch.long, device=prefix.runner.model.device)
    scores = torch.zeros(nodes.shape, device=nodes.device)
    for level in range(trie.levels):
        nodes, scores, parents = _expand(prefix.runner, trie, level, nodes, scores, state.features, beams)
        if level < trie.levels - 1:
            state.step(parents, trie.tokens[level][nodes])
    return _ranking(nodes, scores, beams)


def _expand(
    runner: Runner,
    trie: TrieTensors,
    level: int,
    nodes: torch.Tensor,
    scores: torch.Tensor,
    features: torch.Tensor,
    beams: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One level down: (nodes, scores, parents), each (B, width); dead hypotheses have score -inf.

    Args:
        nodes, scores: (B, W) live hypotheses. features: (B, W, …) behind them, for ``runner.log_probs``.
    """
    tokens, first = trie.children(level, nodes.flatten())
    gained = runner.log_probs(features.flatten(0, 1), tokens)
    total = trie.mask(level, nodes.flatten(), scores.flatten()[:, None] + gained)
    values, places = best(total.view(len(nodes), -1), beams)
    keep = max(int(torch.isfinite(values).sum(1).max()), 1)
    values, places = values[:, :keep], places[:, :keep]
    parents, column = places // tokens.shape[1], places % tokens.shape[1]
    return first.view(nodes.shape).gather(1, parents) + column, values, parents


def best(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``k`` largest of each row, descending; of equal scores the lower column first, on every machine.

    Returns:
        (values, columns), both (B, min(k, columns of ``scores``)).
    """
    k = min(k, scores.shape[1])
    bound = scores.topk(k, dim=1).values[:, -1:]
    above, level = scores > bound, scores == bound
    chosen = above | (level & (level.cumsum(1) <= k - above.sum(1, keepdim=True)))
    columns = chosen.nonzero()[:, 1].view(-1, k)
    values, order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


def _ranking(nodes: torch.Tensor, scores: torch.Tensor, beams: int) -> Ranking:
    batch, width = nodes.shape
    leaves = torch.full((batch, beams), -1, dtype=torch.long)
    values = torch.full((batch, beams), -torch.inf)
    leaves[:, :width], values[:, :width] = nodes.cpu(), scores.float().cpu()
    leaves[values == -torch.inf] = -1
    return Ranking(leaves.numpy(), values.numpy())
