"""The objective of grounding: next-token negative log-likelihood of the answers, with a gradient for new rows only.

Algorithm 1 of the paper (arXiv 2604.02324), computed without what it does not need: heads of templates once for the
run, middles without autograd, logits where an answer is predicted and nowhere else, a few positions at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from gti_cli.grounding.nll.batches import Group
from gti_cli.grounding.nll.checkpointing import ReadOnlyCache
from gti_cli.grounding.nll.head_loss import LogitRule, head_loss, rule_of
from gti_cli.grounding.rows import NewRows

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

    from gti_cli.training.lora import Adapters


class GroundingModel(nn.Module):
    """What the Trainer trains: its parameters, and its state, are the new rows alone (and adapters, if any)."""

    def __init__(
        self, model: PreTrainedModel, rows: NewRows, heads: list[list[int]], adapters: Adapters | None = None
    ) -> None:
        """``rows`` must be attached to ``model`` whenever `forward` runs; ``heads`` as in `batches.Corpus`.

        ``adapters`` are those within ``model``: then every position needs a gradient, and no head can be kept.
        """
        super().__init__()
        if adapters is not None and any(heads):
            raise ValueError("what adapters compute changes with every step: cut no examples")
        self.rows, self.adapters = rows, adapters
        self._model = (model,)
        self._heads = _HeadBank(heads)
        self._rule: LogitRule | None = None
        self._tried = False

    def forward(self, groups: list[Group]) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of a batch of `batches.Collator`, which may be empty.

        Returns:
            the sum over the answers' tokens (0-dim float32, nats) and the number of these tokens (0-dim int64).
        """
        self.rows.sync()
        if not groups:  # a batch that is smaller than the number of processes: this one has no share of it
            nothing = torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum() * 0.0
            return nothing, torch.tensor(0, device=nothing.device)
        losses = [self._answers(group)[0] for group in groups]
        count = sum(len(group["targets"]) for group in groups)
        return torch.stack(losses).sum(), torch.tensor(count, device=losses[0].device)

    def predict(self, groups: list[Group]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Loss as in `forward` (summed), targets (m,) and, for each of them, the most probable token (m,)."""
        self.rows.sync()
        found = [self._answers(group) for group in groups]
        loss = torch.stack([part for part, _ in found]).sum()
        return loss, torch.cat([group["targets"] for group in groups]), torch.cat([best for _, best in found])

    def states(self, group: Group) -> torch.Tensor:
        """What predicts the answers of a group: hidden states (m, d), or logits (m, V) if the rule is not known."""
        self.rows.sync()
        self._try()
        return self._compute(group)

    def _answers(self, group: Group) -> tuple[torch.Tensor, torch.Tensor]:
        """Summed loss of a group's answers, and the most probable token (m,) at each of their positions."""
        self._try()
        computed = self._compute(group)
        if self._rule is not None:
            return head_loss(computed, self.rows, group["targets"], self._rule)
        loss = functional.cross_entropy(computed.float(), group["targets"], reduction="sum")
        return loss, computed.argmax(-1)

    def _try(self) -> None:
        if self._tried:
            return
        mode = self.training
        self.eval()  # dropout of adapters would disturb the trial, and draw random numbers on every resume
        self._rule, self._tried = rule_of(self._model[0], self.rows), True
        self.train(mode)

    def _compute(self, group: Group) -> torch.Tensor:
        """Where answers are predicted: hidden states (m, d), or logits (m, V) if the model's rule is not known."""
        model, head = self._model[0], self.rows.head
        try:
            head.keep, head.record = group["kinds"][:0], True  # no logits where none are trained on
            mask, positions, before = self._heads.gather(model, group["kinds"])
            # Nothing before the tail: no cache at all, for some models have none of the plain kind.
            cache = before if mask.shape[1] or group["middle"].shape[1] else None
            if group["middle"].shape[1]:
                mask = torch.cat([mask, group["middle_mask"]], dim=1)
                place = positions.unsqueeze(1) + (group["middle_mask"].cumsum(1) - 1).clamp(min=0)
                positions = positions + group["middle_mask"].sum(1)
                head.keep = group["keep_middle"]
                with torch.no_grad():
                    _run(model, group["middle"], mask, place, cache)
                head.carried = head.recorded
            head.keep, head.record, head.recorded = group["keep_tail"], self._rule is not None, None
            mask = torch.cat([mask, group["tail_mask"]], dim=1)
            place = positions.unsqueeze(1) + (group["tail_mask"].cumsum(1) - 1).clamp(min=0)
            logits = _run(model, group["tail"], mask, place, None if cache is None else ReadOnlyCache(cache))[0]
            if head.recorded is None:
                return logits
            return head.recorded if head.carried is None else torch.cat([head.carried, head.recorded])
        finally:
            head.keep, head.record, head.recorded, head.carried = None, False, None, None


def _run(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: DynamicCache | None
) -> torch.Tensor:
    kept: dict[str, Any] = {"use_cache": False} if cache is None else {"past_key_values": cache, "use_cache": True}
    found: Any = model(input_ids=ids, attention_mask=mask, position_ids=positions, **kept)
    logits: torch.Tensor = found.logits
    return logits


def has_plain_cache(model: PreTrainedModel, longest: int) -> bool:
    """Whether keys and values can stand with gaps between them, for sequences of up to ``longest`` columns.

    Not so in models that keep a recurrent state, and in those whose attention window counts columns and is shorter.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if getattr(model, "_is_stateful", False) or not kinds <= {"full_attention", "sliding_attention"}:
        return False
    window = getattr(config, "sliding_window", None)
    return window is None or longest <= window


class _HeadBank:
    """Keys and values of every template's head, computed when first asked for: the model below them never changes."""

    def __init__(self, heads: list[list[int]]) -> None:
        self._heads = heads
        self._width = max(map(len, heads))
        self._bank: list[tuple[torch.Tensor, torch.Tensor]] | None = None
        self._mask = torch.zeros(0)

    def gather(self, model: PreTrainedModel, kinds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, DynamicCache]:
        """(mask (B, H), lengths (B,), cache of B rows) for examples of templates ``kinds`` (B,)."""
        from transformers import DynamicCache

        cache = DynamicCache()
        if not self._width:
            return kinds.new_zeros(len(kinds), 0), kinds.new_zeros(len(kinds)), cache
        if self._bank is None:
            self._bank = self._compute(model, kinds.device)
        for layer, (keys, values) in enumerate(self._bank):
            cache.update(keys[kinds], values[kinds], layer)
        mask = self._mask[kinds]
        return mask, mask.sum(1), cache

    @torch.no_grad()
    def _compute(self, model: PreTrainedModel, device: torch.device) -> list[tuple[torch.Tensor, torch.Tensor]]:
        from transformers import DynamicCache

        ids = torch.zeros(len(self._heads), self._width, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, head in enumerate(self._heads):
            ids[row, : len(head)] = torch.tensor(head, dtype=torch.int64)
            mask[row, : len(head)] = 1
        self._mask = mask.to(device)
        seen = self._mask.clone()
        seen[:, 0] = 1  # an empty head: attention over nothing at all is not a number
        cache = DynamicCache()
        _run(model, ids.to(device), seen, torch.arange(self._width, device=device).expand_as(seen), cache)
        layers: list[Any] = list(cache.layers)
        return [(layer.keys, layer.values) for layer in layers]
