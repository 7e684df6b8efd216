"""Beam search over the trie of semantic IDs: every hypothesis is an item that exists.

The score of a hypothesis is the sum of its tokens' log-probabilities under the softmax over the *whole* vocabulary, as
in constrained ``generate`` of Hugging Face: the trie forbids continuations, it does not renormalise over the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

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


@torch.inference_mode()
def beam_search(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], trie: TrieTensors, beams: int, pad_id: int
) -> Ranking:
    """Find the best ``beams`` semantic IDs for each prompt.

    The part that all prompts share is computed once, the rest of each prompt once; beams then read the same key-value
    cache entries of their prompt, reordered as hypotheses survive.

    Args:
        model: a causal LM in evaluation mode. prompts: B token-id lists of any lengths, none empty.
        trie: from `TrieTensors`, on the model's device. beams: hypotheses kept for each prompt at every level.
        pad_id: fills ragged prompts on the left; never attended to.

    Returns:
        `Ranking` with k = ``beams``. Ties are broken by the lower node, so the result is deterministic.
    """
    state = _prefill(model, prompts, pad_id)
    batch = len(prompts)
    nodes = torch.zeros(batch, 1, dtype=torch.long, device=model.device)
    scores = torch.zeros(batch, 1, device=model.device)
    for level in range(trie.levels):
        nodes, scores, parents = _expand(trie, level, nodes, scores, state.logits, beams)
        if level < trie.levels - 1:
            state.advance(parents, trie.tokens[level][nodes])
    return _ranking(nodes, scores, beams)


def _expand(
    trie: TrieTensors, level: int, nodes: torch.Tensor, scores: torch.Tensor, logits: torch.Tensor, beams: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One level down: (nodes, scores, parents), each (B, width); dead hypotheses have score -inf.

    Args:
        nodes, scores: (B, W) live hypotheses. logits: (B, W, V) for the next token.
    """
    children, allowed = trie.children(level, nodes)
    log_z = torch.logsumexp(logits.float(), dim=-1)
    gathered = logits.gather(-1, trie.tokens[level][children]).float() - log_z[..., None]
    total = (scores[..., None] + gathered).masked_fill(~allowed, -torch.inf)
    batch, width, fan = total.shape
    # A stable sort, not topk: equal scores must come out in one order on every machine.
    values, places = total.view(batch, -1).sort(dim=1, descending=True, stable=True)
    keep = min(beams, int(torch.isfinite(values).sum(1).max()))
    values, places = values[:, :keep], places[:, :keep]
    return children.view(batch, width * fan).gather(1, places), values, places // fan


class _State:
    """The key-value cache and next-token logits of B x W hypotheses."""

    def __init__(self, model: PreTrainedModel, cache: Any, mask: torch.Tensor, logits: torch.Tensor) -> None:
        self._model, self._cache = model, cache
        self._mask = mask  # (B * W, tokens so far)
        self._positions = mask.sum(1)  # position of the next token
        self.logits = logits  # (B, W, V)

    def advance(self, parents: torch.Tensor, tokens: torch.Tensor) -> None:
        """Continue hypothesis ``parents`` (B, W') with ``tokens`` (B, W')."""
        batch, width = parents.shape
        old_width = self.logits.shape[1]
        rows = (torch.arange(batch, device=parents.device)[:, None] * old_width + parents).view(-1)
        self._cache.reorder_cache(rows)
        self._mask = torch.cat([self._mask[rows], self._mask.new_ones(len(rows), 1)], dim=1)
        positions = self._positions[rows]
        out = self._model(
            input_ids=tokens.reshape(-1, 1),
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
            **_positions(self._model, positions[:, None]),
        )
        self._positions = positions + 1
        self.logits = out.logits[:, -1].view(batch, width, -1)


def _positions(model: PreTrainedModel, positions: torch.Tensor) -> dict[str, torch.Tensor]:
    import inspect

    # A few architectures (OPT among them, for older versions) work positions out from the mask.
    return {"position_ids": positions} if "position_ids" in inspect.signature(model.forward).parameters else {}


def _prefill(model: PreTrainedModel, prompts: Sequence[Sequence[int]], pad_id: int) -> _State:
    """Compute the prompts: what all of them share once, then the rest, padded on the left."""
    from transformers import DynamicCache

    shared = _shared_prefix(prompts)
    cache = DynamicCache(config=model.config)
    batch = len(prompts)
    if shared:
        prefix = torch.tensor([prompts[0][:shared]], device=model.device)
        model(input_ids=prefix, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(batch)
    longest = max(len(prompt) for prompt in prompts) - shared
    ids = torch.full((batch, longest), pad_id)
    mask = torch.zeros(batch, longest, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        rest = torch.tensor(prompt[shared:])
        ids[row, longest - len(rest) :], mask[row, longest - len(rest) :] = rest, 1
    mask = torch.cat([torch.ones(batch, shared, dtype=torch.long), mask], dim=1).to(model.device)
    # Padding stands between the shared part and the rest: masked out, and positions count real tokens only.
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, shared:]
    out = model(
        input_ids=ids.to(model.device),
        attention_mask=mask,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
        **_positions(model, positions),
    )
    return _State(model, cache, mask, out.logits[:, -1:])


def _shared_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Number of tokens that all prompts start with; one less than the shortest, so that each has a token of its own."""
    most = min(len(prompt) for prompt in prompts) - 1
    first = prompts[0]
    for place in range(most):
        if any(prompt[place] != first[place] for prompt in prompts):
            return place
    return max(most, 0)


def _ranking(nodes: torch.Tensor, scores: torch.Tensor, beams: int) -> Ranking:
    batch, width = nodes.shape
    leaves = torch.full((batch, beams), -1, dtype=torch.long)
    values = torch.full((batch, beams), -torch.inf)
    leaves[:, :width], values[:, :width] = nodes.cpu(), scores.float().cpu()
    leaves[values == -torch.inf] = -1
    return Ranking(leaves.numpy(), values.numpy())
