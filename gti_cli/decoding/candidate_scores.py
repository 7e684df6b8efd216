"""Exact log-probabilities of given items, such as the 200 candidates that a retriever found for each user.

A score is the number that beam search and exact search give an item: the sum of its tokens' log-probabilities under
the softmax over the whole vocabulary. Items that share a semantic ID share a score.

Candidates share prefixes of codes. So a prompt is read once, and of its candidates each *different* prefix is read
once, as a branch of one sequence behind the prompt (`gti_cli.decoding.hypothesis_caches`). The last code of a semantic
ID is never read: its log-probability comes from the prefix before it. With 200 candidates of four codes the model reads
the prompt and at most 600 tokens; a forward pass for each candidate would read the prompt 200 times.

`score_parts` of `gti_cli.decoding.search_parts` comes before: it divides the prompts into parts, which several
processes share and which an interrupted run resumes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from gti_cli.decoding.architecture_probe import make_runner
from gti_cli.decoding.beam import TrieTensors
from gti_cli.decoding.hypothesis_caches import BranchRows, BranchTree, SharedPrefix
from gti_cli.decoding.prompt_prior import PromptPrior
from gti_cli.decoding.runner import Runner

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

# Most semantic IDs of a prompt in one pass. The tokens of a tree are compared with all others of it, seen or not, so
# the work for the attention grows with the square; where branches are rows, each has a copy of the prompt's cache.
IDS_AT_ONCE = 128
# Tokens of a batch, prompts and prefixes together. Where branches are rows, those in all copies of the prompts count.
TOKENS_ON_CPU, TOKENS_ELSEWHERE = 1 << 12, 1 << 15
_ROW_TOKENS = 8  # As many times more tokens in rows, most of which are copied and not read.


@dataclass(frozen=True)
class CandidateLists:
    """The items to score for each of P prompts.

    Attributes:
        offsets: (P + 1,) int64, ascending from 0. The candidates of prompt p are ``rows[offsets[p] : offsets[p + 1]]``;
            there may be none.
        rows: (C,) int64 rows of the catalogue that the trie was built of, in any order; an item may be there twice.
    """

    offsets: Ints
    rows: Ints

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> CandidateLists:
        """Join the lists of P prompts."""
        offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
        return cls(offsets, np.asarray([row for rows in lists for row in rows], dtype=np.int64))

    @property
    def counts(self) -> Ints:
        """Number of candidates of each prompt, (P,)."""
        return np.diff(self.offsets)

    def places(self, prompts: Sequence[int]) -> Ints:
        """Where in ``rows`` the candidates of some prompts stand, one prompt after the other."""
        pieces = [np.arange(self.offsets[number], self.offsets[number + 1]) for number in prompts]
        return np.concatenate([np.empty(0, dtype=np.int64), *pieces])

    def select(self, prompts: Sequence[int]) -> CandidateLists:
        """The lists of some prompts."""
        offsets = np.append(0, np.cumsum(self.counts[list(prompts)])).astype(np.int64)
        return CandidateLists(offsets, self.rows[self.places(prompts)])


@torch.inference_mode()
def score_items(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    trie: TrieTensors,
    candidates: CandidateLists,
    *,
    pad_id: int = 0,
    batch_size: int = 32,
    prior: PromptPrior | None = None,
    prefix: SharedPrefix | None = None,
) -> Floats:
    """Exact log-probability of each candidate after its prompt.

    Args:
        model: A causal LM in evaluation mode.
        prompts: P token-id lists, none empty.
        trie: The trie on the model's device.
        candidates: The items of each prompt.
        pad_id: Token id that fills shorter prompts on the left; never attended to.
        batch_size: Most prompts in a batch. It changes speed and memory, not results.
        prior: A behaviour prior behind the P prompts.
        prefix: What all prompts begin with, if it was computed before. None: it is computed here.

    Returns:
        (C,) float32 log-probabilities, aligned with ``candidates.rows``. For items that a search lists they are the
        scores of `gti_cli.decoding.exact.exact_search` and of beam search, up to rounding.

    Raises:
        ValueError: When there are not as many lists as prompts, or a row is not in the trie.
    """
    rows, catalogue = candidates.rows, len(trie.trie.items)
    if len(candidates.offsets) != len(prompts) + 1 or candidates.offsets[-1] != len(rows):
        raise ValueError(f"{len(prompts)} prompts, but offsets {candidates.offsets.shape} of {len(rows)} candidates")
    if not len(rows):
        return np.empty(0, dtype=np.float32)
    if rows.min() < 0 or rows.max() >= catalogue:
        raise ValueError(f"candidates {rows.min()} … {rows.max()}, but the trie has {catalogue} items")
    # Each semantic ID of a prompt is scored once. Sorted by prompt, then leaf: IDs with a common prefix are neighbours.
    owner = np.repeat(np.arange(len(prompts)), candidates.counts)
    pairs, place = np.unique(owner * trie.trie.leaves + trie.trie.leaf_of_row[rows], return_inverse=True)
    owner, leaves = np.divmod(pairs, trie.trie.leaves)
    ends = np.searchsorted(owner, np.arange(len(prompts) + 1))
    scores: Floats = np.empty(len(pairs), dtype=np.float32)
    prefix = prefix or SharedPrefix(make_runner(model), prompts, trie.levels)
    for batch in _batches(prefix, prompts, np.diff(ends), trie.levels, batch_size):
        branches = prefix.prefill([prompts[number] for number in batch], pad_id)
        first, counts = ends[batch], np.diff(ends)[batch]
        for start in range(0, int(counts.max()), IDS_AT_ONCE):
            active = np.flatnonzero(counts > start)
            is_all = len(active) == len(batch)
            part = branches.fork() if is_all else branches.select(torch.from_numpy(active).to(trie.starts[0].device))
            taken = np.minimum(counts[active] - start, IDS_AT_ONCE)
            row = np.repeat(np.arange(len(active)), taken)
            chosen = np.repeat(first[active] + start - (taken.cumsum() - taken), taken) + np.arange(taken.sum())
            of_part = prior.select(np.asarray(batch)[active]) if prior is not None else None
            scores[chosen] = _score_branches(prefix.runner, part, trie, row, leaves[chosen], of_part)
    return np.asarray(scores[place.reshape(-1)])


def by_work(lengths: Ints, counts: Ints) -> list[int]:
    """Sort the prompts that have candidates so that little is padded in a batch.

    Args:
        lengths: (P,) tokens of each prompt.
        counts: (P,) candidates of each prompt.

    Returns:
        Numbers of prompts. Neighbours have similar counts (by powers of two), then similar lengths.
    """
    size_class = np.frexp(counts.astype(np.float64))[1]
    order = np.lexsort((lengths, size_class))
    return [int(number) for number in order if counts[number]]


def _batches(
    prefix: SharedPrefix, prompts: Sequence[Sequence[int]], counts: Ints, levels: int, batch_size: int
) -> Iterator[list[int]]:
    """Divide the prompts that have candidates into batches of at most ``batch_size`` and as many tokens as may be."""
    budget = TOKENS_ON_CPU if prefix.runner.model.device.type == "cpu" else TOKENS_ELSEWHERE
    lengths = np.asarray([len(prompt) for prompt in prompts])
    batch: list[int] = []
    longest = widest = 0
    for number in by_work(lengths, counts):
        longest = max(longest, int(lengths[number]))
        widest = max(widest, min(int(counts[number]), IDS_AT_ONCE))
        if prefix.uses_trees:
            tokens = longest - prefix.length + (levels - 1) * widest
        else:
            tokens = (longest + levels - 1) * widest // _ROW_TOKENS
        if batch and (len(batch) == batch_size or (len(batch) + 1) * tokens > budget):
            yield batch
            batch, longest, widest = [], int(lengths[number]), min(int(counts[number]), IDS_AT_ONCE)
        batch.append(number)
    if batch:
        yield batch


@dataclass(frozen=True)
class _Level:
    """The m different prefixes of one length among the semantic IDs of a batch, by prompt and node.

    Attributes:
        row: (m,) int64 prompt of each prefix, ascending.
        slot: (m,) int64 number of each prefix among those of its prompt: its column in the branches' features.
        nodes: (m,) int64 trie node of each prefix.
        parents: (m,) int64 number of the prefix without its last code, in the level above.
        columns: (m,) int64 number of each prefix among those with the same parent.
    """

    row: Ints
    slot: Ints
    nodes: Ints
    parents: Ints
    columns: Ints


def _levels(paths: Sequence[Ints], row: Ints) -> list[_Level]:
    """The prefixes of each length, from none to all codes, of ``paths`` of n leaves of the prompts ``row``, (n,)."""
    levels = []
    # The IDs are sorted, so those with one prefix are neighbours. ``number`` is the number of each ID's prefix.
    above = np.zeros(len(row), dtype=np.int64)
    for nodes in paths:
        is_new = (np.diff(row, prepend=-1) != 0) | (np.diff(nodes, prepend=-1) != 0)
        number, first = np.cumsum(is_new) - 1, np.flatnonzero(is_new)
        levels.append(_Level(row[first], _rank(row[first]), nodes[first], above[first], _rank(above[first])))
        above = number
    return levels


def _rank(groups: Ints) -> Ints:
    """Number of each entry within its group, where entries of a group are neighbours and groups ascend."""
    return np.arange(len(groups)) - np.searchsorted(groups, groups)


def _score_branches(
    runner: Runner,
    branches: BranchTree | BranchRows,
    trie: TrieTensors,
    row: Ints,
    leaves: Ints,
    prior: PromptPrior | None,
) -> Floats:
    """Score semantic IDs behind a batch of prompts.

    Args:
        runner: The model, and how it can be run.
        branches: Branches of length zero after B prompts; they grow.
        trie: The trie on the model's device.
        row: (n,) int64 prompt of each ID, ascending from 0 to B - 1 without a gap.
        leaves: (n,) int64 leaves, ascending within a prompt, each once.
        prior: A behaviour prior behind the B prompts.

    Returns:
        (n,) float32 log-probabilities.
    """

    def on_device(array: Ints) -> torch.Tensor:
        return torch.from_numpy(array).to(branches.features.device)

    batch = int(row[-1]) + 1
    scores = torch.zeros(batch, device=branches.features.device)
    for level, (above, below) in enumerate(pairwise(_levels(trie.trie.paths(leaves), row))):
        tokens = trie.tokens[level][on_device(below.nodes)]
        features = branches.features[on_device(above.row), on_device(above.slot)]
        if prior is None:
            place = on_device(below.parents), on_device(below.columns)
            # Prefixes have different numbers of children. The rest of a row repeats some token and is not read.
            children = tokens[0].repeat(len(above.nodes), int(below.columns.max()) + 1)
            children[place] = tokens
            gained = runner.log_probs(features, children)
        else:
            place = on_device(below.parents), on_device(trie.trie.codes[level][below.nodes])
            gained = prior.log_probs(runner, level, on_device(above.row), on_device(above.nodes), features)
        scores = (scores[:, None] + gained)[place]
        if level < trie.levels - 1:  # The last code is scored; the model need not read it.
            width = int(below.slot.max()) + 1
            place = on_device(below.row), on_device(below.slot)
            parents, grid = torch.zeros_like(tokens[0]).repeat(batch, width), tokens[0].repeat(batch, width)
            parents[place], grid[place] = on_device(above.slot[below.parents]), tokens
            branches.step(parents, grid)
    return scores.float().cpu().numpy()
