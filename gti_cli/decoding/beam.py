"""Beam search over the trie of semantic IDs: every hypothesis is an item that exists.

The score of a hypothesis is the sum of its tokens' log-probabilities under the softmax over the *whole* vocabulary, as
in constrained ``generate`` of Hugging Face. The trie forbids continuations; the probabilities of the allowed ones are
not scaled up to sum to one.

`gti_cli.decoding.beam_batches` calls the beam search batch by batch. `gti_cli.decoding.exact` starts from its result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from gti_cli.decoding.architecture_probe import make_runner
from gti_cli.decoding.constraints.allowed_nodes import AllowedNodes
from gti_cli.decoding.hypothesis_caches import SharedPrefix
from gti_cli.decoding.prompt_prior import PromptPrior
from gti_cli.decoding.runner import Runner
from gti_cli.decoding.trie import Trie
from gti_cli.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Ranking:
    """The best semantic IDs of each prompt.

    Attributes:
        leaves: (B, k) int64 leaves of the trie, best first; -1 where the trie has fewer than k.
        scores: (B, k) float32 log-probabilities; -inf where there is no leaf.
        dropped: (B,) float32 log-probability of the best prefix that the search did not follow; -inf where it followed
            all that matter. Log-probabilities only fall along a path, so that IDs that score as much are the best.
    """

    leaves: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    dropped: npt.NDArray[np.float32]


class TrieTensors:
    """A trie on the model's device, with the token id of each node's code.

    Attributes:
        trie: The same trie as numpy arrays.
        levels: Number of codes in a semantic ID, L.
        starts: L int64 tensors, as in `Trie`.
        max_children: L integers. The largest number of children of a node of each level.
        tokens: L int64 tensors. ``tokens[l][m]`` is the token that leads to node m of level l + 1.
    """

    def __init__(self, trie: Trie, token_ids: Sequence[npt.NDArray[np.int64]], device: torch.device) -> None:
        """Copy a trie to the device.

        Args:
            trie: All semantic IDs of the catalogue.
            token_ids: L arrays. The token id of each code of a level.
            device: Device of the model.
        """
        self.trie, self.levels = trie, trie.levels
        self.starts = [torch.from_numpy(np.ascontiguousarray(starts)).to(device) for starts in trie.starts]
        self.max_children = trie.max_children()
        # Where all nodes of a level have the same number of children, no score of `children` has to be masked.
        self._is_even = [
            int(starts[-1]) == (len(starts) - 1) * most
            for starts, most in zip(trie.starts, self.max_children, strict=True)
        ]
        # `children` reads a window of ``max_children`` tokens from each node's first child on. Spare tokens at the end
        # keep the last node's window inside the tensor.
        self.tokens = [
            torch.from_numpy(np.pad(ids[codes], (0, most - 1), mode="edge")).to(device)
            for ids, codes, most in zip(token_ids, trie.codes, self.max_children, strict=True)
        ]

    def children(self, level: int, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Look up the children of nodes.

        Children are numbered one after the other: the child in column j is node ``first + j`` of the next level.
        Columns after a node's last child hold tokens of other nodes; `mask` removes their scores.

        Args:
            level: Level of the nodes; 0 is the root.
            nodes: (n,) int64.

        Returns:
            Tokens of the children, (n, ``max_children[level]``), and the number of each node's first child, (n,).
        """
        first = self.starts[level][nodes]
        return self.tokens[level].unfold(0, self.max_children[level], 1).index_select(0, first), first

    def mask(self, level: int, nodes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Set the scores of columns without a child to -inf.

        Args:
            level: Level of the nodes; 0 is the root.
            nodes: (n,) int64, as for `children`.
            scores: (n, ``max_children[level]``) scores of the columns of `children`.
        """
        if self._is_even[level]:
            return scores
        count = self.starts[level][nodes + 1] - self.starts[level][nodes]
        allowed = torch.arange(self.max_children[level], device=nodes.device) < count[:, None]
        return torch.where(allowed, scores, -torch.inf)


def beam_search(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    trie: TrieTensors,
    beams: int,
    pad_id: int,
    prior: PromptPrior | None = None,
) -> Ranking:
    """Find the best ``beams`` semantic IDs for each prompt.

    Args:
        model: A causal LM in evaluation mode.
        prompts: B token-id lists of any lengths, none empty.
        trie: The trie on the model's device.
        beams: Hypotheses kept for each prompt at every level.
        pad_id: Token id that fills shorter prompts on the left; never attended to.
        prior: A behaviour prior behind these prompts, which the model was trained with.

    Returns:
        `Ranking` with k = ``beams``. Ties are broken by the lower node, so the result is deterministic.
    """
    prefix = SharedPrefix(make_runner(model), prompts, trie.levels)
    return beam_search_with_prefix(prefix, prompts, trie, beams, pad_id, prior)


@torch.inference_mode()
def beam_search_with_prefix(
    prefix: SharedPrefix,
    prompts: Sequence[Sequence[int]],
    trie: TrieTensors,
    beams: int,
    pad_id: int,
    prior: PromptPrior | None = None,
    allowed: AllowedNodes | None = None,
) -> Ranking:
    """Run `beam_search` for a batch of the prompts that ``prefix`` was computed for, perhaps over some nodes alone."""
    branches = prefix.prefill(prompts, pad_id)
    # Each prompt starts with one hypothesis: the root of the trie, which has log-probability 0.
    nodes = torch.zeros(len(prompts), 1, dtype=torch.long, device=prefix.runner.model.device)
    scores = torch.zeros(nodes.shape, device=nodes.device)
    dropped = scores.new_full((len(prompts),), -torch.inf)
    for level in range(trie.levels):
        nodes, scores, parents, left_out = _expand(
            prefix.runner, trie, level, nodes, scores, branches.features, beams, prior, allowed
        )
        if level < trie.levels - 1:  # The last code is scored; the model need not read it.
            branches.step(parents, trie.tokens[level][nodes])
            dropped = torch.maximum(dropped, left_out)
    return _as_ranking(nodes, scores, dropped, beams)


def _expand(
    runner: Runner,
    trie: TrieTensors,
    level: int,
    nodes: torch.Tensor,
    scores: torch.Tensor,
    features: torch.Tensor,
    beams: int,
    prior: PromptPrior | None,
    allowed: AllowedNodes | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Replace the hypotheses by the best of their children.

    Args:
        runner: The model, and how it can be run.
        trie: The trie on the model's device.
        level: Level of ``nodes``; 0 is the root.
        nodes: (B, W) int64 nodes that the hypotheses have reached.
        scores: (B, W) their log-probabilities.
        features: (B, W, …) the runner's features after each hypothesis.
        beams: Most hypotheses to keep for each prompt.
        prior: A behaviour prior behind the B prompts.
        allowed: The nodes that the B prompts may follow. None: all.

    Returns:
        The new nodes, their scores and their parents' columns in ``nodes``, each (B, at most ``beams``). Where a prompt
        has fewer hypotheses than another one, the rest of its row has score -inf. Last the best score that is not
        among them, (B,).
    """
    tokens, first = trie.children(level, nodes.flatten())
    prompts = torch.arange(len(nodes), device=nodes.device).repeat_interleave(nodes.shape[1])
    if prior is None:
        gained = runner.log_probs(features.flatten(0, 1), tokens)
    else:
        gained = prior.child_log_probs(runner, level, prompts, nodes.flatten(), features.flatten(0, 1))
    total = trie.mask(level, nodes.flatten(), scores.flatten()[:, None] + gained)
    if allowed is not None:
        total = allowed.mask(level, prompts, first, total)
    # All children of a prompt compete in one row. Column c of hypothesis w stands at place w * children + c.
    # One more than is kept: the score of the first that is left out.
    values, places = stable_topk(total.view(len(nodes), -1), beams + 1)
    left_out = values[:, beams] if values.shape[1] > beams else values.new_full((len(values),), -torch.inf)
    values, places = values[:, :beams], places[:, :beams]
    # Columns that are -inf for every prompt are dropped, so that the model does not run over them.
    width = max(int(torch.isfinite(values).sum(1).max()), 1)
    values, places = values[:, :width], places[:, :width]
    parents, column = places // tokens.shape[1], places % tokens.shape[1]
    # Where a prompt has fewer hypotheses than another one, the column may lie behind the last node: any node will do.
    children = (first.view(nodes.shape).gather(1, parents) + column).masked_fill(values == -torch.inf, 0)
    return children, values, parents, left_out


def stable_topk(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the ``k`` largest values of each row, descending; of equal values the lower column comes first.

    ``torch.topk`` promises no order among equal values, and the order differs between machines.

    Args:
        scores: (B, C).
        k: How many to find.

    Returns:
        Values and columns, both (B, min(k, C)).

    Raises:
        InputError: When a score is no number.
    """
    k = min(k, scores.shape[1])
    # Everything above the k-th value is taken. The places that remain go to the first columns that equal it.
    top = scores.topk(k, dim=1).values
    if bool(top[:, 0].isnan().any()):  # topk puts what is no number first
        raise InputError(
            "the model gives scores that are no numbers: its weights, or what it computes of them, are not finite",
            remedy="use the checkpoint before, train with a lower --learning-rate, or compute with --dtype float32",
        )
    bound = top[:, -1:]
    above, equal = scores > bound, scores == bound
    chosen = above | (equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True)))
    columns = chosen.nonzero()[:, 1].view(-1, k)
    values, order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


def _as_ranking(nodes: torch.Tensor, scores: torch.Tensor, dropped: torch.Tensor, beams: int) -> Ranking:
    """Fill the lists up to ``beams`` columns."""
    batch, width = nodes.shape
    leaves = torch.full((batch, beams), -1, dtype=torch.long)
    values = torch.full((batch, beams), -torch.inf)
    leaves[:, :width], values[:, :width] = nodes.cpu(), scores.float().cpu()
    leaves[values == -torch.inf] = -1
    return Ranking(leaves.numpy(), values.numpy(), dropped.float().cpu().numpy())
