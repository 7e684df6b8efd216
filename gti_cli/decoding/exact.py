"""Exact search: provably the k most probable semantic IDs, not what a beam happens to keep.

Log-probabilities only fall along a path, so a prefix that scores below the k-th best complete ID cannot lead to a
better one. A beam search gives k complete IDs and with them a bound; then every prefix at or above the bound is
followed, the best first, and nothing below it. The outcome proves itself: if k IDs at or above the bound are found, no
pruned prefix can hold a better one. Where rounding makes it fall short, the bound is lowered and the search repeated.

All users of a batch are searched together: a round takes some of the best prefixes of each, follows them to the leaves,
and comes back for the next. What is kept meanwhile is one round for each level, however many prefixes there are.
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
from gti_cli.decoding.beam import Ranking, TrieTensors
from gti_cli.decoding.branches import Prefix, Rows, Tree
from gti_cli.decoding.probe import make_runner
from gti_cli.decoding.runner import Runner

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHARING = 1024  # prefixes in one forward pass where those of a prompt share its key-value cache
COPYING = 256  # where each has a copy of it
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
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    trie: TrieTensors,
    beam: Ranking,
    k: int,
    *,
    pad_id: int = 0,
    batch_size: int = 32,
) -> Exact:
    """Find the best ``k`` semantic IDs of each prompt, whatever the beam kept.

    Args:
        model: a causal LM in evaluation mode. prompts: B token-id lists, none empty. trie: from `TrieTensors`.
        beam: what `beam_search` found for the same prompts, with at least ``k`` beams.
        k: length of the lists. pad_id: fills ragged prompts; never attended to.
        batch_size: prompts searched together; changes speed and memory, not results.

    Raises:
        ValueError: the beam's lists are shorter than ``k``.
    """
    if beam.leaves.shape[1] < k:
        raise ValueError(f"the beam has {beam.leaves.shape[1]} IDs, fewer than k = {k}")
    order = sorted(range(len(prompts)), key=lambda user: len(prompts[user]))
    leaves = np.full((len(prompts), k), -1, dtype=np.int64)
    scores = np.full((len(prompts), k), -np.inf, dtype=np.float32)
    followed = np.zeros(len(prompts), dtype=np.int64)
    prefix = Prefix(make_runner(model), prompts, trie.levels)
    with console.progress("Proving", len(prompts), "users") as advance:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            state = prefix.prefill([prompts[user] for user in batch], pad_id)
            bound = beam.scores[batch, k - 1]
            leaves[batch], scores[batch], followed[batch] = _batch(prefix.runner, state, trie, bound, k)
            advance(len(batch))
    missed = [
        len(np.setdiff1d(mine[mine >= 0], theirs)) for mine, theirs in zip(leaves, beam.leaves[:, :k], strict=True)
    ]
    return Exact(Ranking(leaves, scores), followed, np.asarray(missed, dtype=np.int64))


def _batch(
    runner: Runner, state: Tree | Rows, trie: TrieTensors, bound: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """(leaves, scores), both (B, k), and prefixes followed, (B,), of the prompts of ``state``."""
    leaves = np.full((len(bound), k), -1, dtype=np.int64)
    scores = np.full((len(bound), k), -np.inf, dtype=np.float32)
    followed = np.zeros(len(bound), dtype=np.int64)
    users, slack = np.arange(len(bound)), _SLACK
    while len(users):
        device = state.features.device
        search = _Search(runner, trie, torch.from_numpy(bound[users] - np.float32(slack)).to(device))
        search.run(state)
        followed[users] += search.followed.cpu().numpy()
        short = []
        for place, (found, values) in enumerate(search.best(k)):
            leaves[users[place], : len(found)], scores[users[place], : len(found)] = found, values
            if len(found) < k and np.isfinite(bound[users[place]]):
                short.append(place)
        users, slack = users[short], slack * 4
        state = state.select(torch.tensor(short, dtype=torch.long, device=device)) if short else state
    return leaves, scores, followed


class _Search:
    """All leaves that score at least ``bound`` (B,), for B prompts.

    Attributes:
        followed: (B,) prefixes computed.
    """

    def __init__(self, runner: Runner, trie: TrieTensors, bound: torch.Tensor) -> None:
        self._runner, self._trie, self._bound = runner, trie, bound
        self.followed = torch.zeros(len(bound), dtype=torch.long, device=bound.device)
        self._found = [(self.followed[:0], self.followed[:0], bound[:0])]  # users, leaves, scores

    def run(self, state: Tree | Rows) -> None:
        """Search from the roots, behind prompts that ``state`` has read; `best` has what is found."""
        users = torch.arange(len(self._bound), device=self._bound.device)
        self._follow(state, 0, users, torch.zeros_like(users)[:, None], torch.zeros_like(self._bound)[:, None])

    def best(self, k: int) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Leaves and scores of each prompt, best first, at most ``k``; of equal scores the lower leaf first."""
        users, leaves, scores = (torch.cat(column).cpu().numpy() for column in zip(*self._found, strict=True))
        order = np.lexsort((leaves, -scores, users))
        ends = np.searchsorted(users[order], np.arange(len(self._bound) + 1))
        parts = [order[start:end][:k] for start, end in pairwise(ends)]
        return [(leaves[part], scores[part]) for part in parts]

    def _follow(
        self, state: Tree | Rows, level: int, users: torch.Tensor, nodes: torch.Tensor, scores: torch.Tensor
    ) -> None:
        """Go on to the leaves from ``nodes`` (A, W) of ``level``, whose features are ``state``'s.

        Args:
            users: (A,) prompts. scores: (A, W), -inf where there is no node.
        """
        row, slot = torch.isfinite(scores).nonzero(as_tuple=True)
        self.followed.index_add_(0, users[row], torch.ones_like(row))
        tokens, first = self._trie.children(level, nodes[row, slot])
        gained = self._runner.log_probs(state.features[row, slot], tokens)
        total = self._trie.mask(level, nodes[row, slot], scores[row, slot][:, None] + gained)
        # Where there are fewer IDs than k the bound is -inf, as is what is no child.
        above = (total >= self._bound[users[row]][:, None]) & (total > -torch.inf)
        parent, column = above.nonzero(as_tuple=True)
        row, slot, below, values = row[parent], slot[parent], first[parent] + column, total[parent, column]
        if level == self._trie.levels - 1:
            self._found.append((users[row], below, values))
        else:
            self._go_on(state, level, users, _Survivors(row, slot, below, values, len(users)))

    def _go_on(self, state: Tree | Rows, level: int, users: torch.Tensor, left: _Survivors) -> None:
        """Follow the survivors, the best of each prompt first, as many at a time as a forward pass should have."""
        at_once = SHARING if isinstance(state, Tree) else COPYING
        done, most = 0, left.most()
        while done < most:
            active = (left.counts > done).nonzero()[:, 0]
            if 2 * len(active) <= len(users):  # most prompts have nothing left: they are not padded any longer
                state, users, left = state.select(active), users[active], left.of(active)
            width = min(max(at_once // len(users), 1), most - done)
            parents, nodes, scores = left.grid(done, width)
            under = state.fork()
            under.step(parents, self._trie.tokens[level][nodes])
            self._follow(under, level + 1, users, nodes, scores)
            done += width


class _Survivors:
    """Nodes to be followed, of A prompts, each prompt's in descending order of score.

    Attributes:
        counts: (A,) nodes of each prompt.
    """

    def __init__(
        self, row: torch.Tensor, slot: torch.Tensor, nodes: torch.Tensor, scores: torch.Tensor, prompts: int
    ) -> None:
        """``row`` and ``slot`` (n,): the prompt of each node, and its parent among the branches appended last."""
        order = scores.sort(descending=True, stable=True).indices
        order = order[row[order].sort(stable=True).indices]
        self._row, self._slot, self._nodes, self._scores = row[order], slot[order], nodes[order], scores[order]
        self.counts = torch.bincount(row, minlength=prompts)
        self._rank = torch.arange(len(row), device=row.device) - (self.counts.cumsum(0) - self.counts)[self._row]

    def most(self) -> int:
        """The largest number of nodes that a prompt has."""
        return int(self.counts.max())

    def of(self, prompts: torch.Tensor) -> _Survivors:
        """Those of some of the prompts (ascending), which are numbered anew."""
        number = torch.full_like(self.counts, -1)
        number[prompts] = torch.arange(len(prompts), device=prompts.device)
        kept = number[self._row] >= 0
        row, slot, nodes, scores = self._row[kept], self._slot[kept], self._nodes[kept], self._scores[kept]
        return _Survivors(number[row], slot, nodes, scores, len(prompts))

    def grid(self, first: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(parents, nodes, scores) of ranks ``first`` … ``first + width - 1``, (A, width); scores are -inf where a
        prompt has fewer.
        """
        kept = (self._rank >= first) & (self._rank < first + width)
        place = self._row[kept], self._rank[kept] - first
        parents = self._row.new_zeros(len(self.counts), width)
        nodes, scores = torch.zeros_like(parents), self._scores.new_full(parents.shape, -torch.inf)
        parents[place], nodes[place], scores[place] = self._slot[kept], self._nodes[kept], self._scores[kept]
        return parents, nodes, scores
