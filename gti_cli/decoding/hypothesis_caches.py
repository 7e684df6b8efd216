"""Key-value caches of the hypotheses that follow each prompt, kept up to date while a search goes on.

A *branch* is the sequence of codes of one hypothesis; it follows its prompt. There are two ways to keep branches:

- `BranchTree`: all branches of a prompt stand in one sequence and share the prompt's key-value cache. A 4D attention
  mask shows a branch's token the prompt and its own ancestors, and nothing else. No cache is copied.
- `BranchRows`: each hypothesis has its own row of the cache, and rows are reordered as hypotheses survive. This is for
  models that do not follow such a mask: recurrent layers, positions that are computed from the mask, attention windows
  shorter than the prompt.

`SharedPrefix` computes once what all prompts begin with; its `prefill` reads the rest of a batch and returns one of the
two. The searches in `gti_cli.decoding.beam` and `gti_cli.decoding.exact` use both in the same way.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from gti_cli.decoding.prompt_cache.kept_prompts import KeptPrompts
from gti_cli.decoding.prompt_cache.reading import ReadPrompts, read_kept_prompts, read_prompts
from gti_cli.decoding.runner import Runner


class StoredPrefix:
    """Tokens with which many prompts begin, computed once and kept from one search to the next.

    Attributes:
        tokens: The token ids.
        cache: Key-value cache of the tokens. It is copied before it grows.
    """

    def __init__(self, runner: Runner, tokens: Sequence[int]) -> None:
        """Run the model over the tokens; only models whose branches are trees can continue them."""
        self.tokens, self.cache = list(tokens), _read_prefix(runner, tokens)

    def begins(self, prompts: Sequence[Sequence[int]]) -> bool:
        """Whether all prompts begin with these tokens, and have more."""
        length = len(self.tokens)
        return all(len(prompt) > length and list(prompt[:length]) == self.tokens for prompt in prompts)


class SharedPrefix:
    """The tokens with which all prompts begin, computed once for all of them.

    Attributes:
        runner: The model, and how it can be run.
        length: Number of shared tokens that were computed; 0 where each prompt is read in full.
        uses_trees: Branches are kept as a `BranchTree`.
    """

    def __init__(
        self,
        runner: Runner,
        prompts: Sequence[Sequence[int]],
        levels: int,
        stored: Sequence[StoredPrefix] = (),
        *,
        kept: KeptPrompts | None = None,
        twice: bool = False,
    ) -> None:
        """Run the model over the shared tokens, or take a stored prefix.

        Args:
            runner: The model, and how it can be run.
            prompts: All token-id lists of the search, none empty.
            levels: Number of codes in a semantic ID.
            stored: Prefixes of the same model. The first that all prompts begin with is used, and nothing else is
                shared: so the result for a prompt does not depend on what the others have in common.
            kept: Prompts behind a stored prefix that were read by earlier searches. None: all are read.
            twice: Each batch is asked for twice in a row, by two searches: what was read for the first is kept for the
                second, with the same bits.
        """
        from transformers import DynamicCache

        longest = max(len(prompt) for prompt in prompts) + levels
        # In a tree every layer must see the whole sequence: the attention window has to be at least as long.
        self.uses_trees = runner.abilities.tree_masks and (runner.window is None or longest <= runner.window)
        self.runner, self._twice = runner, twice
        self._last: tuple[list[Sequence[int]], BranchTree] | None = None
        # With a shared prefix the padding stands between the prefix and the rest of a prompt. Recurrent layers cannot
        # skip padding there, so prompts whose branches are rows are read in full, padded on the left.
        numbers = (n for n, prefix in enumerate(stored) if self.uses_trees and prefix.begins(prompts))
        self._number = next(numbers, None)
        self._kept = kept if self._number is not None else None
        if self._number is not None:
            self.length, self._cache = len(stored[self._number].tokens), stored[self._number].cache
            return
        self.length = shared_prefix_length(prompts) if self.uses_trees else 0
        self._cache = DynamicCache() if self.uses_trees else DynamicCache(config=runner.model.config)
        if self.length:
            self._cache = _read_prefix(runner, prompts[0][: self.length])

    def prefill(self, prompts: Sequence[Sequence[int]], pad_id: int) -> BranchTree | BranchRows:
        """Run the model over the rest of a batch of prompts.

        Args:
            prompts: B of the prompts that the prefix was computed for.
            pad_id: Token id that fills shorter prompts on the left; never attended to.

        Returns:
            Branches of length zero, one after each prompt.
        """
        if self._last is not None and self._last[0] == list(prompts):
            (_, branches), self._last = self._last, None
            return branches
        read = self._read([prompt[self.length :] for prompt in prompts], pad_id)
        if not self.uses_trees:
            return BranchRows(self.runner, read.cache, read.mask, read.features)
        tree = BranchTree(self.runner, read.cache, read.mask, read.features)
        if self._twice:
            self._last = list(prompts), tree.fork()  # a fork shares the tensors of the prompts
        return tree

    def _read(self, rests: Sequence[Sequence[int]], pad_id: int) -> ReadPrompts:
        """Run the model over what stands behind the shared tokens."""
        if self._kept is not None and self._number is not None:
            return read_kept_prompts(self.runner, self._cache, self._number, rests, pad_id, self._kept)
        return read_prompts(self.runner, self._cache, self.length, rests, pad_id)


@torch.inference_mode()
def _read_prefix(runner: Runner, tokens: Sequence[int]) -> Any:
    """The key-value cache of one sequence, without padding."""
    from transformers import DynamicCache

    cache, ids = DynamicCache(), torch.tensor([list(tokens)], device=runner.model.device)
    runner(cache, ids, torch.ones_like(ids), torch.arange(len(tokens), device=ids.device)[None], 1)
    return cache


def shared_prefix_length(prompts: Sequence[Sequence[int]]) -> int:
    """Count the tokens that all prompts start with, leaving each prompt at least one token of its own."""
    lists = [list(prompt) for prompt in prompts]
    low, high = min(lists), max(lists)  # All others lie between these two, so they share what these two share.
    most = min(len(prompt) for prompt in prompts) - 1
    for place in range(most):
        if low[place] != high[place]:
            return place
    return max(most, 0)


class BranchTree:
    """Branches after B prompts, in one sequence for each prompt.

    Attributes:
        features: (B, W, …) features after each token of the last step; before the first step W is 1, and they are those
            after the prompt.
    """

    def __init__(self, runner: Runner, cache: Any, mask: torch.Tensor, features: torch.Tensor) -> None:
        """Start after prompts.

        Args:
            runner: The model, and how it can be run.
            cache: Key-value cache of the prompts; it grows with the branches.
            mask: (B, T) int64, 1 for the tokens of a prompt and 0 for padding.
            features: (B, 1, …) features after each prompt.
        """
        self._runner, self._cache = runner, cache
        self._prompt_mask = mask.bool()  # (B, T)
        self._prompt_length = mask.sum(1)  # (B,), without padding
        self.features = features
        # (B, N, N) for N branch tokens: row i marks the tokens that token i sees, which are its ancestors and itself.
        self._ancestors = torch.zeros(len(mask), 0, 0, dtype=torch.bool, device=mask.device)

    def fork(self) -> BranchTree:
        """Return a shallow copy: appending to it leaves the original unchanged."""
        twin = copy.copy(self)
        twin._cache = copy.copy(self._cache)
        # Layers replace their tensors when they grow and never write into them, so the tensors can be shared.
        twin._cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        return twin

    def select(self, prompts: torch.Tensor) -> BranchTree:
        """Return a copy with the branches of some prompts, given by their (n,) numbers."""
        part = self.fork()
        part._cache.reorder_cache(prompts)
        part._prompt_mask, part._prompt_length = self._prompt_mask[prompts], self._prompt_length[prompts]
        part.features, part._ancestors = self.features[prompts], self._ancestors[prompts]
        return part

    def append(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Run the model over one more token of some branches.

        Args:
            parents: (B, W) int64. The branch token that each new token follows, numbered from 0 in order of appending;
                -1 for the end of the prompt.
            tokens: (B, W) int64 token ids.

        Returns:
            (B, W, …) features after the new tokens.
        """
        batch, width = tokens.shape
        before = self._ancestors.shape[1]
        # A new token sees what its parent sees (the parent's row marks the parent too) and itself.
        own = torch.zeros(batch, width, before + width, dtype=torch.bool, device=tokens.device)
        if before:
            places = parents.clamp(min=0)[..., None].expand(-1, -1, before)
            own[..., :before] = self._ancestors.gather(1, places) & (parents >= 0)[..., None]
        own[:, torch.arange(width), before + torch.arange(width)] = True
        grown = torch.zeros(batch, before + width, before + width, dtype=torch.bool, device=tokens.device)
        grown[:, :before, :before], grown[:, before:] = self._ancestors, own
        self._ancestors = grown
        # The model adds the mask to its attention scores: 0 where a token is visible, the lowest number elsewhere.
        visible = torch.cat([self._prompt_mask[:, None].expand(-1, width, -1), own], dim=2)  # (B, W, T + N + W)
        dtype = self._runner.model.dtype
        mask = torch.zeros(visible.shape, dtype=dtype, device=tokens.device)
        mask.masked_fill_(~visible, torch.finfo(dtype).min)
        # The position is that in a sequence of the prompt and this branch alone.
        positions = self._prompt_length[:, None] + own.sum(2) - 1
        self.features = self._runner(self._cache, tokens, mask[:, None], positions, width)
        return self.features

    def step(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Continue hypotheses of the last step.

        Args:
            parents: (B, W) int64 columns of `features`.
            tokens: (B, W) int64 token ids.

        Returns:
            (B, W, …) features after the new tokens.
        """
        before = self._ancestors.shape[1]
        last = self.features.shape[1] if before else 0
        # The tokens of the last step are numbered from ``before - last`` on. Before the first step the only column of
        # `features` is the prompt, which `append` calls -1.
        return self.append(parents + before - last if before else parents - 1, tokens)


class BranchRows:
    """Branches after B prompts, each a row of the cache.

    Attributes:
        features: (B, W, …) as in `BranchTree`. The cache has B * W rows, those of a prompt one after the other.
    """

    def __init__(self, runner: Runner, cache: Any, mask: torch.Tensor, features: torch.Tensor) -> None:
        """Start after prompts; arguments as for `BranchTree`."""
        self._runner, self._cache, self._mask = runner, cache, mask
        self._positions = mask.sum(1)  # (B * W,) position of the next token of each row
        self.features = features

    def fork(self) -> BranchRows:
        """Return a deep copy, since layers may write into their cache: stepping leaves the original unchanged."""
        twin = copy.copy(self)
        twin._cache = copy.deepcopy(self._cache)
        return twin

    def select(self, prompts: torch.Tensor) -> BranchRows:
        """Return a copy with the branches of some prompts, given by their (n,) numbers."""
        part, width = self.fork(), self.features.shape[1]
        rows = (prompts[:, None] * width + torch.arange(width, device=prompts.device)).view(-1)
        part._cache.reorder_cache(rows)
        part._mask, part._positions = self._mask[rows], self._positions[rows]
        part.features = self.features[prompts]
        return part

    def step(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Continue hypotheses of the last step; arguments and result as for `BranchTree.step`."""
        batch, width = parents.shape
        last = self.features.shape[1]
        # Every new hypothesis gets a copy of its parent's row.
        rows = (torch.arange(batch, device=parents.device)[:, None] * last + parents).view(-1)
        self._cache.reorder_cache(rows)
        self._mask = torch.cat([self._mask[rows], self._mask.new_ones(len(rows), 1)], dim=1)
        positions = self._positions[rows]
        features = self._runner(self._cache, tokens.reshape(-1, 1), self._mask, positions[:, None], 1)
        self._positions = positions + 1
        self.features = features.view(batch, width, -1)
        return self.features
