"""The paper's objective: next-token negative log-likelihood of the answers, with a gradient for the new rows only.

Algorithm 1 of arXiv 2604.02324, without computations that cannot change its result. The keys and values of template
prefixes are computed once for the run, contexts are computed without autograd, and logits are computed only where an
answer token is predicted, a few positions at a time.

Comes after `nll.batches`, which makes the batches. `nll.head_loss` turns the hidden states computed here into the loss,
and `rows` feeds the new rows into the model and receives their gradient.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from gti_cli.checkpoints.configuration import cache_argument
from gti_cli.grounding.nll.batches import GroupTensors
from gti_cli.grounding.nll.gradient_checkpointing import ReadOnlyCache
from gti_cli.grounding.nll.head_loss import LogitRule, find_logit_rule, head_loss
from gti_cli.grounding.trainable_rows import NewRows

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

    from gti_cli.training.lora import Adapters


# What stands before the spans of B examples: its mask (B, P), the next position number of each (B,), keys and values.
_BeforeSpan: TypeAlias = "tuple[torch.Tensor, torch.Tensor, DynamicCache | None]"


class GroundingModel(nn.Module):
    """The module that the Trainer trains. Its parameters and its state are the new rows, and the adapters if any.

    Attributes:
        rows: The new rows.
        adapters: LoRA adapters inside the frozen model (None: there are none).
    """

    def __init__(
        self, model: PreTrainedModel, rows: NewRows, prefixes: list[list[int]], adapters: Adapters | None = None
    ) -> None:
        """Wrap a frozen model.

        Args:
            model: A causal LM. ``rows`` must be attached to it whenever `forward` runs.
            rows: Its new rows.
            prefixes: Token ids of each template's prefix, as in `batches.Corpus`.
            adapters: The adapters inside ``model``, which train too. Every position then needs a gradient, so all
                prefixes must be empty.

        Raises:
            ValueError: When there are adapters and a prefix that is not empty.
        """
        super().__init__()
        if adapters is not None and any(prefixes):
            raise ValueError("adapters change the keys and values of prefixes in every step: divide no examples")
        self.rows, self.adapters = rows, adapters
        self._model = (model,)  # in a tuple, so that the frozen model is not part of this module's state
        self._prefixes = _PrefixCache(prefixes)
        self._rule: LogitRule | None = None
        self._rule_tried = False

    def forward(self, groups: list[GroupTensors]) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the loss of a batch.

        Args:
            groups: A batch of `batches.Collator`, which may be empty.

        Returns:
            The sum over the answers' tokens (0-dim float32, nats) and the number of these tokens (0-dim int64).
        """
        self.rows.sync()
        if not groups:  # The batch has fewer examples than there are processes, and this process got none.
            nothing = torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum() * 0.0
            return nothing, torch.tensor(0, device=nothing.device)
        losses = [self._answer_loss(group)[0] for group in groups]
        count = sum(len(group["targets"]) for group in groups)
        return torch.stack(losses).sum(), torch.tensor(count, device=losses[0].device)

    def predict(self, groups: list[GroupTensors]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compute the loss and the predictions of a batch with at least one group.

        Args:
            groups: A batch of `batches.Collator`.

        Returns:
            The summed loss as in `forward`, the targets (m,) and the most probable token at each of them (m,).
        """
        self.rows.sync()
        parts = [self._answer_loss(group) for group in groups]
        loss = torch.stack([part for part, _ in parts]).sum()
        return loss, torch.cat([group["targets"] for group in groups]), torch.cat([best for _, best in parts])

    def states(
        self, group: GroupTensors, contexts: KeptContexts | None = None, name: Hashable | None = None
    ) -> torch.Tensor:
        """What predicts the answers of a group: hidden states (m, d), or logits (m, V) if there is no `LogitRule`.

        Args:
            group: A group of `batches.Collator`.
            contexts: Keeps the keys and values of contexts, so that they are computed once (None: they are computed).
            name: What the group's contexts are called there.

        Returns:
            Those predicted in contexts, then those predicted in spans.
        """
        self.rows.sync()
        self._try_rule()
        return self._compute(group, contexts, name)

    @property
    def rule(self) -> LogitRule | None:
        """The model's `LogitRule` (None: its logits follow no rule known here)."""
        self._try_rule()
        return self._rule

    def _answer_loss(self, group: GroupTensors) -> tuple[torch.Tensor, torch.Tensor]:
        """Summed loss of a group's answers, and the most probable token (m,) at each of their positions."""
        self._try_rule()
        computed = self._compute(group)
        if self._rule is not None:
            return head_loss(computed, self.rows, group["targets"], self._rule)
        loss = functional.cross_entropy(computed.float(), group["targets"], reduction="sum")
        return loss, computed.argmax(-1)

    def _try_rule(self) -> None:
        """Find the model's `LogitRule`, once."""
        if self._rule_tried:
            return
        mode = self.training
        self.eval()  # The adapters' dropout would disturb the trial, and draw extra random numbers on every resume.
        self._rule, self._rule_tried = find_logit_rule(self._model[0], self.rows), True
        self.train(mode)

    def _compute(
        self, group: GroupTensors, contexts: KeptContexts | None = None, name: Hashable | None = None
    ) -> torch.Tensor:
        """Run the model over a group: hidden states (m, d) that predict answers, or logits (m, V) without a rule."""
        model, head = self._model[0], self.rows.head
        try:
            # The model runs up to three times. `head` says what each run returns: logits or hidden states, at which
            # positions. The first run computes the template prefixes, where none is needed: an empty list (0,).
            # (`[:0]` keeps dtype and device of position numbers.)
            head.positions, head.record = group["templates"][:0], True
            # Keys and values are kept, the states that predict in a context are not.
            known = None if len(group["predict_in_context"]) else contexts
            before = known.find(name) if known is not None else None
            if before is None:
                before = self._compute_context(group)
                if contexts is not None:
                    contexts.keep(name, before)
            mask, next_position, cache = before
            head.positions, head.record, head.recorded = group["predict_in_span"], self._rule is not None, None
            mask = torch.cat([mask, group["span_mask"]], dim=1)
            positions = _positions(next_position, group["span_mask"])
            # Gradient checkpointing computes layers twice; a cache that they extend would be extended twice.
            span_cache = None if cache is None else ReadOnlyCache(cache)
            logits = _run(model, group["span"], mask, positions, span_cache)[0]
            if head.recorded is None:
                return logits
            return head.recorded if head.prepended is None else torch.cat([head.prepended, head.recorded])
        finally:
            head.reset()

    def _compute_context(self, group: GroupTensors) -> _BeforeSpan:
        """Compute what stands before the spans of a group, and hand states that predict there to the head."""
        model, head = self._model[0], self.rows.head
        mask, next_position, prefix_cache = self._prefixes.gather(model, group["templates"])
        has_context = bool(group["context"].shape[1])
        # Without anything before the span, no cache is passed: some models take only caches of another kind.
        cache = prefix_cache if mask.shape[1] or has_context else None
        if has_context:
            mask = torch.cat([mask, group["context_mask"]], dim=1)
            positions = _positions(next_position, group["context_mask"])
            next_position = next_position + group["context_mask"].sum(1)
            head.positions = group["predict_in_context"]
            with torch.no_grad():
                _run(model, group["context"], mask, positions, cache)
            # The first answer token is predicted by the context's last state. That state is a constant, but the
            # head's new rows get a gradient from it, so it joins the states of the span.
            head.prepended = head.recorded
        return mask, next_position, cache


class KeptContexts:
    """Keys and values of what stands before the spans of groups, as many as a number of bytes allows."""

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes
        self._kept: dict[Hashable | None, _BeforeSpan] = {}

    def find(self, name: Hashable | None) -> _BeforeSpan | None:
        """Return what is kept under a name; None if nothing is."""
        return self._kept.get(name)

    def keep(self, name: Hashable | None, before: _BeforeSpan) -> None:
        """Keep something under a name, if there is room."""
        layers: list[Any] = [] if before[2] is None else list(before[2].layers)
        size = sum(part.numel() * part.element_size() for layer in layers for part in (layer.keys, layer.values))
        if size <= self._left and name not in self._kept:
            self._left -= size
            self._kept[name] = before


def _positions(start: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Position numbers (B, T) of tokens with ``mask`` (B, T) that begin at ``start`` (B,); padding takes no number."""
    return start.unsqueeze(1) + (mask.cumsum(1) - 1).clamp(min=0)


def _run(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: DynamicCache | None
) -> torch.Tensor:
    """The model's logits for ids (B, T), continuing after ``cache``, which grows; the mask covers both."""
    caching: dict[str, Any] = {"use_cache": cache is not None}
    if cache is not None:
        name = cache_argument(type(model).forward, model.config)
        assert name is not None, "only models that take a cache are computed in parts"
        caching[name] = cache
    outputs: Any = model(input_ids=ids, attention_mask=mask, position_ids=positions, **caching)
    logits: torch.Tensor = outputs.logits
    return logits


def has_plain_cache(model: PreTrainedModel, longest: int) -> bool:
    """Whether a model's cache is a list of keys and values that may have padding between them.

    This does not hold for models with a recurrent state, nor for those whose attention window counts columns and is
    shorter than the batch.

    Args:
        model: A causal LM.
        longest: Most columns of a batch.

    Returns:
        Whether prefixes can be computed once and contexts apart.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if getattr(model, "_is_stateful", False) or not kinds <= {"full_attention", "sliding_attention"}:
        return False
    window = getattr(config, "sliding_window", None)
    return window is None or longest <= window


class _PrefixCache:
    """Keys and values of all template prefixes, computed at first use; constants, for no prefix has a new token."""

    def __init__(self, prefixes: list[list[int]]) -> None:
        self._prefixes = prefixes
        self._width = max(map(len, prefixes))
        self._layers: list[tuple[torch.Tensor, torch.Tensor]] | None = None  # keys and values of each layer
        self._mask = torch.zeros(0)

    def gather(
        self, model: PreTrainedModel, templates: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, DynamicCache]:
        """Look up the prefixes of B examples.

        Args:
            model: A causal LM, which computes the prefixes at first use.
            templates: (B,) int64. Template number of each example.

        Returns:
            The mask (B, H) of the prefixes, H being the length of the longest of all; their lengths (B,), which are the
            first position numbers after them; and a cache with B rows of keys and values.
        """
        from transformers import DynamicCache

        cache = DynamicCache()
        if not self._width:
            return templates.new_zeros(len(templates), 0), templates.new_zeros(len(templates)), cache
        if self._layers is None:
            self._layers = self._compute(model, templates.device)
        for number, (keys, values) in enumerate(self._layers):
            cache.update(keys[templates], values[templates], number)
        mask = self._mask[templates]
        return mask, mask.sum(1), cache

    @torch.no_grad()
    def _compute(self, model: PreTrainedModel, device: torch.device) -> list[tuple[torch.Tensor, torch.Tensor]]:
        from transformers import DynamicCache

        ids = torch.zeros(len(self._prefixes), self._width, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, prefix in enumerate(self._prefixes):
            ids[row, : len(prefix)] = torch.tensor(prefix, dtype=torch.int64)
            mask[row, : len(prefix)] = 1
        self._mask = mask.to(device)
        # A row of an empty prefix would attend to nothing, which gives NaN. It gets one column here; `_mask` hides it.
        seen = self._mask.clone()
        seen[:, 0] = 1
        cache = DynamicCache()
        _run(model, ids.to(device), seen, torch.arange(self._width, device=device).expand_as(seen), cache)
        layers: list[Any] = list(cache.layers)
        return [(layer.keys, layer.values) for layer in layers]
