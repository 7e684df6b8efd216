"""Prompts and the hypotheses behind them.

Hypotheses of one prompt are *branches* behind a common trunk. Where the model takes an attention mask of ours, all
branches of a prompt stand in one sequence and share the prompt's key-value cache: nothing is copied, a branch's token
sees the prompt and its own ancestors. Models that do not (recurrent layers, positions worked out from the mask, windows
shorter than the prompt) get a row of the cache for each hypothesis, reordered as hypotheses survive.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from gti_cli.decoding.runner import Runner


class Prefix:
    """The part that all prompts share, computed once for all of them."""

    def __init__(self, runner: Runner, prompts: Sequence[Sequence[int]], levels: int) -> None:
        from transformers import DynamicCache

        longest = max(len(prompt) for prompt in prompts) + levels
        self.trees = runner.abilities.tree_masks and (runner.window is None or longest <= runner.window)
        self.runner = runner
        # Rows of a cache are padded on the left alone: recurrent layers do not get over padding in the middle.
        self.length = shared_prefix(prompts) if self.trees else 0
        self._cache = DynamicCache() if self.trees else DynamicCache(config=runner.model.config)
        if self.length:
            with torch.inference_mode():
                ids = torch.tensor([prompts[0][: self.length]], device=runner.model.device)
                positions = torch.arange(self.length, device=ids.device)[None]
                runner(self._cache, ids, torch.ones_like(ids), positions, 1)

    def prefill(self, prompts: Sequence[Sequence[int]], pad_id: int) -> Tree | Rows:
        """Compute the rest of some of the prompts, padded on the left."""
        device, batch = self.runner.model.device, len(prompts)
        cache = copy.deepcopy(self._cache)
        if self.length and batch > 1:
            cache.batch_repeat_interleave(batch)
        longest = max(len(prompt) for prompt in prompts) - self.length
        ids = torch.full((batch, longest), pad_id)
        mask = torch.zeros(batch, longest, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            rest = torch.tensor(prompt[self.length :])
            ids[row, longest - len(rest) :], mask[row, longest - len(rest) :] = rest, 1
        mask = torch.cat([torch.ones(batch, self.length, dtype=torch.long), mask], dim=1).to(device)
        # Padding stands between the shared part and the rest: masked out, and positions count real tokens only.
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, self.length :]
        features = self.runner(cache, ids.to(device), mask, positions, 1)
        return (Tree if self.trees else Rows)(self.runner, cache, mask, features)


def shared_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Number of tokens that all prompts start with; one less than the shortest, so that each has a token of its own."""
    lists = [list(prompt) for prompt in prompts]
    low, high = min(lists), max(lists)  # in lexicographic order, what these two share all of them share
    most = min(len(prompt) for prompt in prompts) - 1
    for place in range(most):
        if low[place] != high[place]:
            return place
    return max(most, 0)


class Tree:
    """Branches behind B prompts, in one sequence for each prompt."""

    def __init__(self, runner: Runner, cache: Any, mask: torch.Tensor, features: torch.Tensor) -> None:
        self._runner, self._cache = runner, cache
        self._prompt = mask.bool()  # (B, T)
        self._length = mask.sum(1)
        self.features = features  # (B, W, …): behind each of the tokens appended last; at first, behind the prompt
        self._ancestors = torch.zeros(len(mask), 0, 0, dtype=torch.bool, device=mask.device)

    def fork(self) -> Tree:
        """The same branches, to be continued without this object's noticing; what there is, is shared."""
        other = copy.copy(self)
        other._cache = copy.copy(self._cache)
        # A layer's tensors are replaced when it grows, never written into.
        other._cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        return other

    def select(self, prompts: torch.Tensor) -> Tree:
        """The branches of some of the prompts, a copy."""
        other = self.fork()
        other._cache.reorder_cache(prompts)
        other._prompt, other._length = self._prompt[prompts], self._length[prompts]
        other.features, other._ancestors = self.features[prompts], self._ancestors[prompts]
        return other

    def append(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Put ``tokens`` (B, W) behind the branch tokens ``parents`` (B, W): their number in order of appending, from
        0, or -1 for the prompt's end. Returns the features behind the new tokens, (B, W, …).
        """
        batch, width = tokens.shape
        before = self._ancestors.shape[1]
        own = torch.zeros(batch, width, before + width, dtype=torch.bool, device=tokens.device)
        if before:
            places = parents.clamp(min=0)[..., None].expand(-1, -1, before)
            own[..., :before] = self._ancestors.gather(1, places) & (parents >= 0)[..., None]
        own[:, torch.arange(width), before + torch.arange(width)] = True
        grown = torch.zeros(batch, before + width, before + width, dtype=torch.bool, device=tokens.device)
        grown[:, :before, :before], grown[:, before:] = self._ancestors, own
        self._ancestors = grown
        visible = torch.cat([self._prompt[:, None].expand(-1, width, -1), own], dim=2)
        dtype = self._runner.model.dtype
        mask = torch.zeros(visible.shape, dtype=dtype, device=tokens.device)
        mask.masked_fill_(~visible, torch.finfo(dtype).min)
        positions = self._length[:, None] + own.sum(2) - 1
        self.features = self._runner(self._cache, tokens, mask[:, None], positions, width)
        return self.features

    def step(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Like `append`, with ``parents`` counted within the tokens appended last."""
        before = self._ancestors.shape[1]
        last = self.features.shape[1] if before else 0
        return self.append(parents + before - last if before else parents - 1, tokens)


class Rows:
    """Branches behind B prompts, each a row of the cache."""

    def __init__(self, runner: Runner, cache: Any, mask: torch.Tensor, features: torch.Tensor) -> None:
        self._runner, self._cache, self._mask = runner, cache, mask
        self._positions = mask.sum(1)
        self.features = features

    def fork(self) -> Rows:
        """The same branches, to be continued without this object's noticing: a copy, layers may write into theirs."""
        other = copy.copy(self)
        other._cache = copy.deepcopy(self._cache)
        return other

    def select(self, prompts: torch.Tensor) -> Rows:
        """The branches of some of the prompts, a copy."""
        other, width = self.fork(), self.features.shape[1]
        rows = (prompts[:, None] * width + torch.arange(width, device=prompts.device)).view(-1)
        other._cache.reorder_cache(rows)
        other._mask, other._positions = self._mask[rows], self._positions[rows]
        other.features = self.features[prompts]
        return other

    def step(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Continue the hypotheses ``parents`` (B, W), of those of the last step, with ``tokens`` (B, W)."""
        batch, width = parents.shape
        old = self.features.shape[1]
        rows = (torch.arange(batch, device=parents.device)[:, None] * old + parents).view(-1)
        self._cache.reorder_cache(rows)
        self._mask = torch.cat([self._mask[rows], self._mask.new_ones(len(rows), 1)], dim=1)
        positions = self._positions[rows]
        features = self._runner(self._cache, tokens.reshape(-1, 1), self._mask, positions[:, None], 1)
        self._positions = positions + 1
        self.features = features.view(batch, width, -1)
        return self.features
