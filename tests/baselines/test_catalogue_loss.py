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


def test_under_autocast_the_factors_of_the_products_are_rounded_and_nothing_else() -> None:
    draw = torch.Generator().manual_seed(5)
    states, table = torch.randn(50, 8, generator=draw), torch.randn(300, 8, generator=draw)
    targets = torch.randint(0, 300, (50,), generator=draw)
    # The same from float32 factors that are rounded before: only the logits and the slopes are still to be rounded.
    ours, theirs = (
        [tensor.clone().requires_grad_() for tensor in (states, table)],
        [tensor.bfloat16().float().requires_grad_() for tensor in (states, table)],
    )
    with torch.autocast("cpu", torch.bfloat16):
        loss = catalogue_loss(*ours, targets, 16)
    wanted = torch.nn.functional.cross_entropy(theirs[0] @ theirs[1].T, targets)
    loss.backward()
    wanted.backward()
    assert loss.dtype == ours[0].grad.dtype == ours[1].grad.dtype == torch.float32
    torch.testing.assert_close(loss, wanted, rtol=5e-3, atol=0)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.grad - other.grad).norm() < 0.01 * other.grad.norm()
    plain = catalogue_loss(states, table, targets, 16)
    assert loss != plain  # without autocast nothing is rounded
    torch.testing.assert_close(plain, torch.nn.functional.cross_entropy(states @ table.T, targets))
