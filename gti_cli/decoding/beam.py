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
    """A trie on the model's device, with the token id of each node's code."""

    def __init__(self, trie: Trie, token_ids: Sequence[npt.NDArray[np.int64]], device: torch.device) -> None:
        self.levels = trie.levels
        self.starts = [torch.from_numpy(np.ascontiguousarray(starts)).to(device) for starts in trie.starts]
        self.tokens = [
            torch.from_numpy(np.ascontiguousarray(ids[codes])).to(device)
            for ids, codes in zip(token_ids, trie.codes, strict=True)
        ]
        self.widest = trie.widest()

    def children(self, level: int, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Children of ``nodes`` (any shape) of ``level``: node numbers and a mask, both (…, widest)."""
        first, behind = self.starts[level][nodes], self.starts[level][nodes + 1]
        found = first[..., None] + torch.arange(self.widest[level], device=nodes.device)
        allowed = found < behind[..., None]
        return torch.where(allowed, found, 0), allowed


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
    return beam_search_behind(Prefix(Runner(model), prompts, trie.levels), prompts, trie, beams, pad_id)


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
    children, allowed = trie.children(level, nodes)
    fan = children.shape[-1]
    gained = runner.log_probs(features.flatten(0, 1), trie.tokens[level][children].flatten(0, 1))
    total = (scores[..., None] + gained.view(children.shape)).masked_fill_(~allowed, -torch.inf)
    values, places = best(total.flatten(1), beams)
    keep = max(int(torch.isfinite(values).sum(1).max()), 1)
    values, places = values[:, :keep], places[:, :keep]
    return children.flatten(1).gather(1, places), values, places // fan


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
