"""Cross-entropy over all items, a few targets at a time: a whole batch's logits fit in no processor's cache.

At 12,000 items a batch's logits are some 40 MB, and the plain loss writes and reads them half a dozen times.
"""

from __future__ import annotations

from typing import Any

import torch

TARGETS_AT_ONCE = 128


class _CatalogueLoss(torch.autograd.Function):
    """Computes the gradients along with the loss: they are needed as soon, and the logits are still at hand."""

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, items: torch.Tensor, targets: torch.Tensor, at_once: int
    ) -> torch.Tensor:
        """See `catalogue_loss`."""
        loss = states.new_zeros(())
        of_states, of_items = torch.empty_like(states), torch.zeros_like(items)
        for start in range(0, len(states), at_once):
            part = slice(start, start + at_once)
            places = targets[part, None]
            logits = states[part] @ items.T
            logits -= logits.amax(1, keepdim=True)
            reached = logits.gather(1, places)
            share = logits.exp_()  # in place from here on: passes over this block are what the loss costs
            sums = share.sum(1, keepdim=True)
            loss += (sums.log() - reached).sum()
            share /= sums
            share.scatter_add_(1, places, torch.full_like(places, -1, dtype=share.dtype))
            torch.mm(share, items, out=of_states[part])
            of_items.addmm_(share.T, states[part])
        loss /= len(states)
        of_states /= len(states)
        of_items /= len(states)
        ctx.save_for_backward(of_states, of_items)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        """The kept gradients, scaled."""
        of_states, of_items = ctx.saved_tensors
        return of_states * gradients[0], of_items * gradients[0], None, None


def catalogue_loss(
    states: torch.Tensor, items: torch.Tensor, targets: torch.Tensor, at_once: int = TARGETS_AT_ONCE
) -> torch.Tensor:
    """Mean cross-entropy (nats, 0-dim) of ``states @ items.T`` against ``targets``: torch's value, torch's gradients.

    Args:
        states: (m, d). items: (N, d), of the same dtype. targets: (m,) int64, rows of ``items``. at_once: targets whose
            logits are held at a time.
    """
    found: torch.Tensor = _CatalogueLoss.apply(states, items, targets, at_once)  # type: ignore[no-untyped-call]
    return found
