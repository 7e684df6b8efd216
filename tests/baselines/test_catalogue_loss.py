"""The loss over all items against torch's own, with its gradients."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.baselines.catalogue_loss import catalogue_loss


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 8), st.integers(1, 45), st.integers(0, 99), st.booleans())
def test_loss_and_gradients_are_those_of_cross_entropy(
    count: int, items: int, width: int, at_once: int, seed: int, spread: bool
) -> None:
    draw = torch.Generator().manual_seed(seed)
    states = torch.randn(count, width, generator=draw, dtype=torch.float64) * (30 if spread else 1)
    table = torch.randn(items, width, generator=draw, dtype=torch.float64)
    targets = torch.randint(0, items, (count,), generator=draw)
    ours = [states.clone().requires_grad_(), table.clone().requires_grad_()]
    theirs = [states.clone().requires_grad_(), table.clone().requires_grad_()]
    loss = catalogue_loss(*ours, targets, at_once)
    wanted = torch.nn.functional.cross_entropy(theirs[0] @ theirs[1].T, targets)
    (3 * loss).backward()
    (3 * wanted).backward()
    torch.testing.assert_close(loss, wanted)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
