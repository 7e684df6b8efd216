"""Cross-entropy over all items, computed for a few targets at a time.

The logits of a whole batch do not fit into a processor's cache: with 12,000 items they take some 40 MB, and the plain
loss writes and reads them about six times. In blocks of `TARGETS_AT_ONCE` targets they stay in the cache.
"""

from __future__ import annotations

from typing import Any

import torch

TARGETS_AT_ONCE = 128


class _CatalogueLoss(torch.autograd.Function):
    """The loss, with both gradients computed in the forward pass, where each block's logits are still in the cache."""

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, items: torch.Tensor, targets: torch.Tensor, at_once: int, dtype: torch.dtype
    ) -> torch.Tensor:
        """See `catalogue_loss`; the factors of the products have the number format ``dtype``."""
        loss = items.new_zeros(())
        states_gradient, items_gradient = torch.empty_like(states), torch.zeros_like(items)
        rounded_states, rounded_items = states.to(dtype), items.to(dtype)
        for start in range(0, len(states), at_once):
            part = slice(start, start + at_once)
            places = targets[part, None]
            logits = (rounded_states[part] @ rounded_items.T).to(items.dtype)
            logits -= logits.amax(1, keepdim=True)
            of_targets = logits.gather(1, places)
            # In place from here on: the cost of the loss is the number of passes over this block.
            softmax = logits.exp_()
            sums = softmax.sum(1, keepdim=True)
            loss += (sums.log() - of_targets).sum()
            softmax /= sums
            # The gradient with respect to the logits is the softmax minus 1 at the target.
            softmax.scatter_add_(1, places, torch.full_like(places, -1, dtype=softmax.dtype))
            slope = softmax.to(dtype)
            states_gradient[part] = slope @ rounded_items
            if dtype == items.dtype:
                items_gradient.addmm_(slope.T, rounded_states[part])  # a pass over the matrix less
            else:
                items_gradient += slope.T @ rounded_states[part]
        loss /= len(states)
        states_gradient /= len(states)
        items_gradient /= len(states)
        ctx.save_for_backward(states_gradient, items_gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None, None]:
        """Scale the stored gradients."""
        states_gradient, items_gradient = ctx.saved_tensors
        return states_gradient * gradients[0], items_gradient * gradients[0], None, None, None


def catalogue_loss(
    states: torch.Tensor, items: torch.Tensor, targets: torch.Tensor, at_once: int = TARGETS_AT_ONCE
) -> torch.Tensor:
    """Mean cross-entropy of the logits ``states @ items.T``, as `torch.nn.functional.cross_entropy` computes it.

    Under autocast the factors of the three matrix products are rounded to its number format. Softmax, loss and the sum
    of the items' gradients are not.

    Args:
        states: (m, d) hidden states.
        items: (N, d) item vectors.
        targets: (m,) int64 rows of ``items``.
        at_once: Targets whose logits are held at a time.

    Returns:
        The loss in nats, a tensor without dimensions, in the number format of ``items``.
    """
    kind = states.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else items.dtype
    with torch.autocast(kind, enabled=False):
        loss: torch.Tensor = _CatalogueLoss.apply(  # type: ignore[no-untyped-call]
            states, items, targets, at_once, dtype
        )
    return loss
