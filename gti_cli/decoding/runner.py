"""Run a causal LM over prompts and hypotheses: what it can do is found out by trying, once, on a few tokens."""

from __future__ import annotations

import inspect
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn.functional import linear

from gti_cli.decoding import head
from gti_cli.decoding.branches import Tree
from gti_cli.errors import InputError

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

    Raises:
        InputError: the model takes no key-value cache.

    Attributes:
        model: a causal LM in evaluation mode; the adapted model where adapters of peft are around it.
        lean: its logits are its head behind the last hidden state, so they need never all be there at once.
        plain: its head is a matrix and nothing else, so logits can be had word by word.
        trees: it takes a mask of ours. window: longest sequence for ``trees``.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        model = _without_wrapper(model)
        self.model = model
        parameters = inspect.signature(model.forward).parameters
        self._has_positions, self._has_keep = "position_ids" in parameters, "logits_to_keep" in parameters
        if "past_key_values" not in parameters:  # it would vanish in the keyword arguments, and all scores be wrong
            raise InputError(
                f"{type(model).__name__} takes no key-value cache (past_key_values), which the search needs",
                remedy="use a decoder-only model with attention",
            )
        self.lean = self.plain = self.trees = False
        self.window = _window(model.config)
        # Trying takes a few forward passes: once for a model, not once for every batch of a caller that has batches.
        module = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        attention, autocast = (
            getattr(model.config, "_attn_implementation", None),
            torch.is_autocast_enabled(model.device.type),
        )
        state = (model.dtype, model.device, attention, model.training, autocast)
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


def _without_wrapper(model: PreTrainedModel) -> PreTrainedModel:
    """The model that peft put its layers into: the wrapper's signature hides what the model takes."""
    wrapper: Any = model
    return cast("PreTrainedModel", wrapper.get_base_model() if hasattr(wrapper, "get_base_model") else wrapper)


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
