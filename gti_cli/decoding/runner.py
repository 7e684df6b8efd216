"""Run a causal LM over prompts and hypotheses: what it can do is found out by trying, once, on a few tokens.

Hypotheses of one prompt are *branches* behind a common trunk. Where the model takes an attention mask of ours, all
branches of a prompt stand in one sequence and share the prompt's key-value cache: nothing is copied, a branch's token
sees the prompt and its own ancestors. Models that do not (recurrent layers, positions worked out from the mask, windows
shorter than the prompt) get a row of the cache for each hypothesis, reordered as hypotheses survive.
"""

from __future__ import annotations

import copy
import inspect
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn.functional import linear

from gti_cli.decoding import head

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CHUNK = 1 << 21  # logits at a time, where they have to be whole


@dataclass(frozen=True)
class _Known:
    """What was found out about a model, as long as its head, type, device and attention are the same."""

    head: Any  # weakref to the module
    state: tuple[Any, ...]
    lean: bool
    plain: bool
    trees: bool


_KNOWN: weakref.WeakKeyDictionary[PreTrainedModel, _Known] = weakref.WeakKeyDictionary()


class Runner:
    """A model, and what it can do.

    Attributes:
        model: a causal LM in evaluation mode.
        lean: its logits are its head behind the last hidden state, so they need never all be there at once.
        plain: its head is a matrix and nothing else, so logits can be had word by word.
        trees: it takes a mask of ours. window: longest sequence for ``trees``.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        parameters = inspect.signature(model.forward).parameters
        self._has_positions, self._has_keep = "position_ids" in parameters, "logits_to_keep" in parameters
        self.lean = self.plain = self.trees = False
        self.window = _window(model.config)
        # Trying takes a few forward passes: once for a model, not once for every batch of a caller that has batches.
        module = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        state = (model.dtype, model.device, getattr(model.config, "_attn_implementation", None), model.training)
        known = _KNOWN.get(model)
        if known is None or known.head() is not module or known.state != state:
            with torch.inference_mode():
                self.lean = _succeeds(self._head_is_last)
                self.plain = self.lean and _succeeds(self._head_is_a_matrix)
                self.trees = self._has_positions and _succeeds(self._takes_a_mask)
            if module is not None:
                _KNOWN[model] = _Known(weakref.ref(module), state, self.lean, self.plain, self.trees)
        else:
            self.lean, self.plain, self.trees = known.lean, known.plain, known.trees

    def __call__(self, cache: Any, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, keep: int) -> Any:
        """Features (B, keep, …) of the last ``keep`` tokens of ``ids``, for `log_probs`; ``cache`` grows."""
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "past_key_values": cache, "use_cache": True}
        if self._has_positions:
            given["position_ids"] = positions
        if self.lean:
            return self.model.base_model(**given).last_hidden_state[:, -keep:]
        if self._has_keep:
            given["logits_to_keep"] = keep
        return self.model(**given).logits[:, -keep:]

    def log_probs(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Log-probabilities, under the softmax over the whole vocabulary, of ``tokens`` (R, n) behind R features."""
        if self.plain:
            matrix: Any = self.model.get_output_embeddings()  # type: ignore[no-untyped-call]
            return head.log_probs(features, matrix.weight, matrix.bias, tokens)
        out = torch.empty(tokens.shape, device=tokens.device)
        rows = max(_CHUNK // int(self.model.config.get_text_config().vocab_size), 1)
        for start in range(0, len(features), rows):
            part = slice(start, start + rows)
            logits = self._logits(features[part]).float()
            out[part] = logits.gather(1, tokens[part]) - logits.logsumexp(1, keepdim=True)
        return out

    def _logits(self, features: torch.Tensor) -> torch.Tensor:
        return self._head(features) if self.lean else features

    def _head(self, features: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.model.get_output_embeddings()(features))  # type: ignore[no-untyped-call]

    def _head_is_last(self) -> bool:
        ids = self._sample(5)[None]
        hidden = self.model.base_model(input_ids=ids).last_hidden_state
        return torch.allclose(self._head(hidden), self.model(input_ids=ids).logits, rtol=1e-4, atol=1e-4)

    def _head_is_a_matrix(self) -> bool:
        matrix: Any = self.model.get_output_embeddings()  # type: ignore[no-untyped-call]
        if not isinstance(matrix, torch.nn.Linear):
            return False
        hidden = torch.eye(4, matrix.in_features, device=self.model.device, dtype=self.model.dtype)
        return torch.allclose(matrix(hidden), linear(hidden, matrix.weight, matrix.bias))

    def _takes_a_mask(self) -> bool:
        """Two branches of two tokens, in one sequence and in sequences of their own, must agree."""
        from transformers import DynamicCache

        ids = self._sample(7)
        trunk, first, second = ids[:3], ids[3:5], ids[5:7]
        alone = [self.model(input_ids=torch.cat([trunk, part])[None]).logits[0, -1] for part in (first, second)]
        mixed = self.model(input_ids=ids[None]).logits[0, -1]
        cache = DynamicCache()
        prompt = torch.ones(1, 3, dtype=torch.long, device=ids.device)
        features = self(cache, trunk[None], prompt, torch.arange(3, device=ids.device)[None], 1)
        tree = Tree(self, cache, prompt, features)
        for level in range(2):
            tokens = torch.stack([first[level], second[level]])[None]
            slots = torch.tensor([[-1, -1]] if level == 0 else [[0, 1]], device=ids.device)
            features = tree.append(slots, tokens)
        found = self._logits(features[0])
        # Rounding differs between the two; a mask that is ignored differs by as much as another history does.
        wrong = float((alone[1] - mixed).abs().max())
        return float((found - torch.stack(alone)).abs().max()) < 0.05 * wrong

    def _sample(self, count: int) -> torch.Tensor:
        size = int(self.model.config.get_text_config().vocab_size)
        return (torch.arange(1, count + 1, device=self.model.device) * 7919) % size


def _succeeds(check: Any) -> bool:
    try:
        return bool(check())
    except Exception:  # whatever a model does with what it was not made for: it cannot, then
        return False


def _window(config: Any) -> int | None:
    """The shortest attention window of the model, None where every layer sees everything."""
    text = config.get_text_config()
    if getattr(text, "use_sliding_window", True) is False:
        return None
    widths = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
    kept = [int(width) for width in widths if width]
    return min(kept) if kept else None


class Prefix:
    """The part that all prompts share, computed once for all of them."""

    def __init__(self, runner: Runner, prompts: Sequence[Sequence[int]], levels: int) -> None:
        from transformers import DynamicCache

        longest = max(len(prompt) for prompt in prompts) + levels
        self.trees = runner.trees and (runner.window is None or longest <= runner.window)
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

    def append(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Put ``tokens`` (B, W) behind the branch tokens ``parents`` (B, W): their number in order of appending, from
        0, or -1 for the prompt's end. Returns the features behind the new tokens, (B, W, …)."""
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
