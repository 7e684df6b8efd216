"""Exact search: provably the k most probable semantic IDs, not what a beam happens to keep.

Log-probabilities only fall along a path, so a prefix that scores below the k-th best complete ID cannot lead to a
better one. A beam search gives k complete IDs and with them a bound; then every prefix at or above the bound is
followed, level by level, and nothing below it. The outcome proves itself: if k IDs at or above the bound are found, no
pruned prefix can hold a better one. Where rounding makes it fall short, the bound is lowered and the search repeated.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from gti_cli import console
from gti_cli.decoding.beam import Ranking, TrieTensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROWS = 256  # prefixes in one forward pass: bounds the memory for copies of the prompt's key-value cache
_SLACK = 1e-3  # log-probability; how far beam and exact scores may differ by rounding before a repeat is needed


@dataclass(frozen=True)
class Exact:
    """What an exact search found.

    Attributes:
        ranking: the true best k of each prompt; of equal scores the lower leaf comes first.
        followed: (B,) int64, prefixes that had to be computed for each prompt.
        missed: (B,) int64, IDs of the true best k that the beam's list did not have.
    """

    ranking: Ranking
    followed: npt.NDArray[np.int64]
    missed: npt.NDArray[np.int64]


@torch.inference_mode()
def exact_search(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], trie: TrieTensors, beam: Ranking, k: int
) -> Exact:
    """Find the best ``k`` semantic IDs of each prompt, whatever the beam kept.

    Args:
        model: a causal LM in evaluation mode. prompts: B token-id lists, none empty. trie: from `TrieTensors`.
        beam: what `beam_search` found for the same prompts, with at least ``k`` beams.
        k: length of the lists.

    Raises:
        ValueError: the beam's lists are shorter than ``k``.
    """
    if beam.leaves.shape[1] < k:
        raise ValueError(f"the beam has {beam.leaves.shape[1]} IDs, fewer than k = {k}")
    leaves = np.full((len(prompts), k), -1, dtype=np.int64)
    scores = np.full((len(prompts), k), -np.inf, dtype=np.float32)
    followed = np.zeros(len(prompts), dtype=np.int64)
    missed = np.zeros(len(prompts), dtype=np.int64)
    with console.progress("Proving", len(prompts), "users") as advance:
        for row, prompt in enumerate(prompts):
            found, values, followed[row] = _one(model, prompt, trie, float(beam.scores[row, k - 1]), k)
            leaves[row, : len(found)], scores[row, : len(found)] = found, values
            missed[row] = len(np.setdiff1d(found, beam.leaves[row, :k]))
            advance()
    return Exact(Ranking(leaves, scores), followed, missed)


def _one(
    model: PreTrainedModel, prompt: Sequence[int], trie: TrieTensors, bound: float, k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], int]:
    """Leaves and scores of one prompt, and the number of prefixes followed."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    ids = torch.tensor([list(prompt)], device=model.device)
    logits = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
    slack, followed = _SLACK, 0
    while True:
        nodes, scores, count = _follow(model, cache, trie, logits, bound - slack)
        followed += count
        order = torch.sort(scores, descending=True, stable=True).indices[:k]  # nodes ascend: of equals the lower leaf
        if len(order) == k or bound == -torch.inf:
            return nodes[order].cpu().numpy(), scores[order].float().cpu().numpy(), followed
        slack *= 4


def _follow(
    model: PreTrainedModel, cache: Any, trie: TrieTensors, logits: torch.Tensor, bound: float
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """All leaves that score at least ``bound``: (n,) leaves in ascending order, (n,) scores; and the prefixes computed.

    Args:
        cache: of the prompt, one row; not changed. logits: (1, V), for the token behind the prompt.
    """
    nodes = torch.zeros(1, dtype=torch.long, device=logits.device)
    scores = torch.zeros(1, device=logits.device)
    paths = nodes.new_zeros(1, 0)
    followed = 0
    for level in range(trie.levels):
        if not len(nodes):
            break
        parts = []
        for start in range(0, len(nodes), ROWS):
            rows = slice(start, start + ROWS)
            if level:
                logits = _next(model, cache, paths[rows])
            parts.append(_children(trie, level, nodes[rows], scores[rows], paths[rows], logits, bound))
        followed += len(nodes)
        nodes, scores, paths = (torch.cat(column) for column in zip(*parts, strict=True))
    return nodes, scores, followed


def _next(model: PreTrainedModel, cache: Any, paths: torch.Tensor) -> torch.Tensor:
    """(n, V) logits behind the prompt and each of ``paths`` (n, level) token ids, all of one length."""
    own = copy.deepcopy(cache)
    own.batch_repeat_interleave(len(paths))
    out = model(input_ids=paths, past_key_values=own, use_cache=True, logits_to_keep=1)
    last: torch.Tensor = out.logits[:, -1]
    return last


def _children(
    trie: TrieTensors,
    level: int,
    nodes: torch.Tensor,
    scores: torch.Tensor,
    paths: torch.Tensor,
    logits: torch.Tensor,
    bound: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Children of ``nodes`` (n,) that score at least ``bound``: nodes, scores, paths; ascending like their parents."""
    children, allowed = trie.children(level, nodes)
    tokens = trie.tokens[level][children]
    total = scores[:, None] + logits.gather(-1, tokens).float() - torch.logsumexp(logits.float(), -1, keepdim=True)
    kept = allowed & (total >= bound)
    row = kept.nonzero()[:, 0]
    return children[kept], total[kept], torch.cat([paths[row], tokens[kept][:, None]], dim=1)
