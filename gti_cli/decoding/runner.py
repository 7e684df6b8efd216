"""Runs a causal LM over prompts and hypotheses, as cheaply as the model's architecture allows."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from gti_cli.checkpoints.configuration import cache_argument
from gti_cli.decoding import log_probs
from gti_cli.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Most logits held at a time where a model's logits have to be computed for the whole vocabulary.
_LOGITS_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Abilities:
    """What a model's architecture allows; `gti_cli.decoding.architecture_probe` finds it out.

    Attributes:
        split_head: The logits equal the output head applied to the last hidden state, so the head can run separately.
        linear_head: The output head is one linear layer, so single logits can be computed without the others.
        tree_masks: The model follows a 4D attention mask, so several hypotheses can share one sequence.
    """

    split_head: bool = False
    linear_head: bool = False
    tree_masks: bool = False


class Runner:
    """A causal LM with what its architecture allows.

    Make it with `gti_cli.decoding.architecture_probe.make_runner`, which tries the model out first.

    Attributes:
        model: A causal LM in evaluation mode.
        abilities: What the model's architecture allows.
        has_positions: The model takes ``position_ids``.
        window: Longest sequence for which ``tree_masks`` holds; None where every layer sees everything.
    """

    def __init__(self, model: PreTrainedModel, abilities: Abilities) -> None:
        """Wrap ``model``.

        Args:
            model: A causal LM in evaluation mode, without a wrapper of peft around it.
            abilities: What the model's architecture allows.

        Raises:
            InputError: The model takes no key-value cache.
        """
        self.model, self.abilities = model, abilities
        self.window = _window(model.config)
        parameters = inspect.signature(model.forward).parameters
        self.has_positions, self._has_keep = "position_ids" in parameters, "logits_to_keep" in parameters
        cache = cache_argument(model.forward, model.config)
        if cache is None:
            raise InputError(
                f"{type(model).__name__} takes no key-value cache, which the search needs",
                remedy="use a decoder-only model with attention",
            )
        self._cache = cache

    def __call__(self, cache: Any, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, keep: int) -> Any:
        """Run the model over further tokens.

        Args:
            cache: Key-value cache of the tokens before ``ids``; it grows in place.
            ids: (B, T) int64 token ids.
            mask: (B, cached + T) padding mask, or a 4D mask to be added to the attention scores.
            positions: (B, T) int64 position of each token.
            keep: How many of the last tokens to return features for.

        Returns:
            Features (B, keep, …) for `log_probs`: hidden states, or logits where the head cannot run separately.
        """
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, self._cache: cache, "use_cache": True}
        if self.has_positions:
            given["position_ids"] = positions
        if self.abilities.split_head:
            return self.model.base_model(**given).last_hidden_state[:, -keep:]
        if self._has_keep:
            given["logits_to_keep"] = keep
        return self.model(**given).logits[:, -keep:]

    def log_probs(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Log-probabilities under the softmax over the whole vocabulary.

        Args:
            features: (R, …) features that calling this object returned.
            tokens: (R, n) int64 token ids.

        Returns:
            (R, n) log-probabilities of ``tokens``, each row behind its features.
        """
        if self.abilities.linear_head:
            matrix: Any = self.model.get_output_embeddings()  # type: ignore[no-untyped-call]
            return log_probs.log_probs(features, matrix.weight, matrix.bias, tokens)
        out = torch.empty(tokens.shape, device=tokens.device)
        rows = max(_LOGITS_AT_ONCE // int(self.model.config.get_text_config().vocab_size), 1)
        for start in range(0, len(features), rows):
            part = slice(start, start + rows)
            logits = self.logits(features[part]).float()
            out[part] = logits.gather(1, tokens[part]) - logits.logsumexp(1, keepdim=True)
        return out

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits over the whole vocabulary, (R, V), from features that calling this object returned."""
        if not self.abilities.split_head:
            return features
        return cast(torch.Tensor, self.model.get_output_embeddings()(features))  # type: ignore[no-untyped-call]


def _window(config: Any) -> int | None:
    """The shortest attention window of the model; None where every layer sees everything."""
    text = config.get_text_config()
    if getattr(text, "use_sliding_window", True) is False:
        return None
    widths = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
    set_widths = [int(width) for width in widths if width]
    return min(set_widths) if set_widths else None
