"""Exact search: provably the k most probable semantic IDs, where a beam search may have dropped some.

Log-probabilities only fall along a path of the trie. So a prefix of codes that scores below the k-th best complete ID
cannot lead to a better one. The beam search before it has found k complete IDs, and the worst of them is a bound. Every
prefix that scores at least the bound is followed, the best first, and no other. Once k IDs at or above the bound are
found, no prefix that was left out can hold a better one. Rounding can make a search find fewer than k; then the bound
is lowered and the search repeated. Where a model finds nearly everything equally likely, nearly all prefixes would have
to be followed: a caller can set a limit, beyond which a prompt keeps the beam's list.

All prompts of a batch are searched together, depth first: a round takes some of the best prefixes of each prompt,
follows them down to the leaves, and comes back for the next ones. In memory there is one round for each level, however
many prefixes there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from gti_cli import console
from gti_cli.decoding.architecture_probe import make_runner
from gti_cli.decoding.beam import Ranking, TrieTensors
from gti_cli.decoding.constraints.allowed_nodes import AllowedNodes
from gti_cli.decoding.frontier import Frontier
from gti_cli.decoding.hypothesis_caches import BranchRows, BranchTree, SharedPrefix
from gti_cli.decoding.prompt_prior import PromptPrior
from gti_cli.decoding.runner import Runner

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Most prefixes in one forward pass. Branches of a tree share the prompt's cache; each branch row has a copy of it.
TREE_PREFIXES = 1024
ROW_PREFIXES = 256
_SLACK = 1e-3  # Log-probability by which beam and exact scores may differ through rounding before a search is repeated.


@dataclass(frozen=True)
class ExactResult:
    """The outcome of an exact search.

    Attributes:
        ranking: The true best k of each prompt; of equal scores the lower leaf comes first. Where the search stopped at
            its limit, the beam's list.
        followed: (B,) int64 number of prefixes that the model was run over for each prompt.
        missed: (B,) int64 number of IDs among the true best k that the beam's list did not have.
    """

    ranking: Ranking
    followed: npt.NDArray[np.int64]
    missed: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Restrictions:
    """What holds for the B prompts of a search.

    Attributes:
        limit: Most prefixes to follow for a prompt in one search. None: no limit.
        prior: A behaviour prior behind the prompts.
        allowed: The nodes that the prompts may follow. None: all.
    """

    limit: int | None
    prior: PromptPrior | None
    allowed: AllowedNodes | None

    def select(self, prompts: Sequence[int] | npt.NDArray[np.int64]) -> _Restrictions:
        """The same for some of the prompts, which are numbered anew."""
        prior = self.prior.select(prompts) if self.prior is not None else None
        return _Restrictions(self.limit, prior, self.allowed.select(prompts) if self.allowed is not None else None)


@torch.inference_mode()
def exact_search(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    trie: TrieTensors,
    beam: Ranking,
    k: int,
    *,
    pad_id: int = 0,
    batch_size: int = 32,
    limit: int | None = None,
    prior: PromptPrior | None = None,
    allowed: AllowedNodes | None = None,
    prefix: SharedPrefix | None = None,
) -> ExactResult:
    """Find the true best ``k`` semantic IDs of each prompt.

    Args:
        model: A causal LM in evaluation mode.
        prompts: B token-id lists, none empty.
        trie: The trie on the model's device.
        beam: Result of a beam search for the same prompts, with at least ``k`` beams.
        k: Length of the lists.
        pad_id: Token id that fills shorter prompts on the left; never attended to.
        batch_size: Prompts searched together. It changes speed and memory, not results.
        limit: Most prefixes to follow for a prompt. Prompts that need more keep the beam's list. None: no limit.
        prior: A behaviour prior behind the B prompts.
        allowed: The nodes that the B prompts may follow. None: all.
        prefix: What all prompts begin with, if it was computed before. None: it is computed here.

    Raises:
        ValueError: When the beam's lists are shorter than ``k``.
    """
    if beam.leaves.shape[1] < k:
        raise ValueError(f"the beam has {beam.leaves.shape[1]} IDs, fewer than k = {k}")
    # Prompts of similar length share a batch, so that little is padded.
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    leaves = np.full((len(prompts), k), -1, dtype=np.int64)
    scores = np.full((len(prompts), k), -np.inf, dtype=np.float32)
    dropped = np.full(len(prompts), -np.inf, dtype=np.float32)
    followed = np.zeros(len(prompts), dtype=np.int64)
    prefix = prefix or SharedPrefix(make_runner(model), prompts, trie.levels)
    with console.progress("Exact search", len(prompts), "prompts") as advance:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            branches = prefix.prefill([prompts[number] for number in batch], pad_id)
            bound = beam.scores[batch, k - 1]
            of_batch = _Restrictions(limit, prior, allowed).select(batch)
            leaves[batch], scores[batch], followed[batch], stopped = _search_batch(
                prefix.runner, branches, trie, bound, k, of_batch
            )
            unfinished = np.asarray(batch)[stopped]
            leaves[unfinished], scores[unfinished] = beam.leaves[unfinished, :k], beam.scores[unfinished, :k]
            dropped[unfinished] = beam.dropped[unfinished]
            advance(len(batch))
    missed = [
        len(np.setdiff1d(exact_leaves[exact_leaves >= 0], beam_leaves))
        for exact_leaves, beam_leaves in zip(leaves, beam.leaves[:, :k], strict=True)
    ]
    return ExactResult(Ranking(leaves, scores, dropped), followed, np.asarray(missed, dtype=np.int64))


def _search_batch(
    runner: Runner,
    branches: BranchTree | BranchRows,
    trie: TrieTensors,
    bound: npt.NDArray[np.float32],
    k: int,
    given: _Restrictions,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Search a batch, and again with a lower bound for the prompts that came out with fewer than ``k`` IDs.

    Args:
        runner: The model, and how it can be run.
        branches: Branches of length zero after B prompts.
        trie: The trie on the model's device.
        bound: (B,) score of the k-th best ID that the beam found; -inf where it found fewer.
        k: Length of the lists.
        given: What holds for the B prompts.

    Returns:
        Leaves and scores, both (B, k), the number of prefixes followed, (B,), and which prompts need more, (B,).
    """
    leaves = np.full((len(bound), k), -1, dtype=np.int64)
    scores = np.full((len(bound), k), -np.inf, dtype=np.float32)
    followed = np.zeros(len(bound), dtype=np.int64)
    stopped = np.zeros(len(bound), dtype=bool)
    # ``numbers`` are the numbers of the prompts that are still to be searched. The slack grows with each repetition.
    numbers, slack = np.arange(len(bound)), _SLACK
    while len(numbers):
        device = branches.features.device
        lowered = torch.from_numpy(bound[numbers] - np.float32(slack)).to(device)
        search = _BoundedSearch(runner, trie, lowered, given.select(numbers))
        search.run(branches)
        followed[numbers] += search.followed.cpu().numpy()
        stopped[numbers] = search.stopped().cpu().numpy()
        incomplete = []
        for place, (best_leaves, values) in enumerate(search.best(k)):
            leaves[numbers[place], : len(best_leaves)], scores[numbers[place], : len(best_leaves)] = best_leaves, values
            # Where the bound is -inf nothing was pruned: the trie has no more IDs.
            if len(best_leaves) < k and np.isfinite(bound[numbers[place]]) and not stopped[numbers[place]]:
                incomplete.append(place)
        numbers, slack = numbers[incomplete], slack * 4
        if incomplete:
            branches = branches.select(torch.tensor(incomplete, dtype=torch.long, device=device))
    return leaves, scores, followed, stopped


class _BoundedSearch:
    """Finds all leaves that score at least a bound.

    Attributes:
        followed: (B,) int64 number of prefixes that the model was run over for each prompt.
    """

    def __init__(
        self,
        runner: Runner,
        trie: TrieTensors,
        bound: torch.Tensor,
        given: _Restrictions,
    ) -> None:
        """Prepare a search for B prompts; ``bound`` is (B,) float32."""
        self._runner, self._trie, self._bound = runner, trie, bound
        self._limit, self._prior, self._allowed = given.limit, given.prior, given.allowed
        self.followed = torch.zeros(len(bound), dtype=torch.long, device=bound.device)
        # Pieces of the result: (prompts, leaves, scores). The first is empty, so that there is something to join.
        self._pieces = [(self.followed[:0], self.followed[:0], bound[:0])]

    def run(self, branches: BranchTree | BranchRows) -> None:
        """Search from the root of the trie, with branches of length zero; `best` then returns the result."""
        numbers = torch.arange(len(self._bound), device=self._bound.device)
        self._follow(branches, 0, numbers, torch.zeros_like(numbers)[:, None], torch.zeros_like(self._bound)[:, None])

    def stopped(self) -> torch.Tensor:
        """Which prompts need more prefixes than the limit, (B,) bool: no more of theirs are followed."""
        return self.followed > (torch.iinfo(torch.long).max if self._limit is None else self._limit)

    def best(self, k: int) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Return at most ``k`` leaves and scores of each prompt, best first; of equal scores the lower leaf first."""
        numbers, leaves, scores = (torch.cat(column).cpu().numpy() for column in zip(*self._pieces, strict=True))
        order = np.lexsort((leaves, -scores, numbers))
        ends = np.searchsorted(numbers[order], np.arange(len(self._bound) + 1))
        parts = [order[start:end][:k] for start, end in pairwise(ends)]
        return [(leaves[part], scores[part]) for part in parts]

    def _follow(
        self,
        branches: BranchTree | BranchRows,
        level: int,
        numbers: torch.Tensor,
        nodes: torch.Tensor,
        scores: torch.Tensor,
    ) -> None:
        """Score the children of some nodes, and follow those at or above the bound down to the leaves.

        Args:
            branches: Branches whose last step led to ``nodes``; A prompts.
            level: Level of ``nodes``; 0 is the root.
            numbers: (A,) int64 numbers of the prompts.
            nodes: (A, W) int64.
            scores: (A, W) float32 log-probabilities; -inf where there is no node.
        """
        # From here on nodes are one flat list; ``row`` and ``slot`` say where each stood in (A, W).
        row, slot = torch.isfinite(scores).nonzero(as_tuple=True)
        self.followed.index_add_(0, numbers[row], torch.ones_like(row))
        tokens, first = self._trie.children(level, nodes[row, slot])
        features = branches.features[row, slot]
        if self._prior is None:
            gained = self._runner.log_probs(features, tokens)
        else:
            gained = self._prior.child_log_probs(self._runner, level, numbers[row], nodes[row, slot], features)
        total = self._trie.mask(level, nodes[row, slot], scores[row, slot][:, None] + gained)
        if self._allowed is not None:
            total = self._allowed.mask(level, numbers[row], first, total)
        # A column without a child scores -inf. So does the bound where the beam found fewer than k IDs: without the
        # second test such columns would pass the first.
        above = (total >= self._bound[numbers[row]][:, None]) & (total > -torch.inf)
        parent, column = above.nonzero(as_tuple=True)
        row, slot, children, values = row[parent], slot[parent], first[parent] + column, total[parent, column]
        if level == self._trie.levels - 1:
            self._pieces.append((numbers[row], children, values))
        else:
            self._follow_in_rounds(branches, level, numbers, Frontier(row, slot, children, values, len(numbers)))

    def _follow_in_rounds(
        self, branches: BranchTree | BranchRows, level: int, numbers: torch.Tensor, frontier: Frontier
    ) -> None:
        """Run the model over the frontier, the best of each prompt first, as many at a time as fit in a pass."""
        at_once = TREE_PREFIXES if isinstance(branches, BranchTree) else ROW_PREFIXES
        done, most = 0, frontier.largest_count()
        while done < most:
            active = ((frontier.counts > done) & ~self.stopped()[numbers]).nonzero()[:, 0]
            if not len(active):
                return
            # Once half of the prompts have no node left, they are dropped, so that they are not padded any longer.
            if 2 * len(active) <= len(numbers):
                branches, numbers, frontier = branches.select(active), numbers[active], frontier.select(active)
            width = min(max(at_once // len(numbers), 1), most - done)
            parents, nodes, scores = frontier.grid(done, width)
            if self._limit is not None:
                scores = scores.masked_fill(self.stopped()[numbers][:, None], -torch.inf)
            longer = branches.fork()
            longer.step(parents, self._trie.tokens[level][nodes])
            self._follow(longer, level + 1, numbers, nodes, scores)
            done += width
