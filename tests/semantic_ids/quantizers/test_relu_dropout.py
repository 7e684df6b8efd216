"""ReLU and dropout in one step, against torch's two."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.semantic_ids.quantizers.relu_dropout import ReluDropout, random_mask


@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.floats(0, 0.99), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_values_and_gradients_are_those_of_a_masked_relu(shape: list[int], dropout: float, seed: int) -> None:
    torch.manual_seed(seed)
    rows = torch.randn(shape, requires_grad=True)
    torch.manual_seed(seed + 1)
    mask = random_mask(rows.shape, dropout)
    torch.manual_seed(seed + 1)
    output = ReluDropout(dropout).train()(rows)
    expected = rows.relu() * -mask / (1 - dropout) if dropout else rows.relu()
    weights = torch.randn(shape)
    gradient = torch.autograd.grad((output * weights).sum(), rows)[0]
    expected_gradient = torch.autograd.grad((expected * weights).sum(), rows)[0]
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5])
def test_the_dropped_share_and_the_independence_of_neighbours(dropout: float) -> None:
    torch.manual_seed(3)
    mask = -random_mask(torch.Size((1000, 1003)), dropout).double()
    error = (dropout * (1 - dropout) / mask.numel()) ** 0.5
    assert float(1 - mask.mean()) == pytest.approx(dropout, abs=5 * error + 2e-5)
    for lag in (1, 2, 4, 1003):  # neighbours share a 64-bit word
        flat = mask.flatten() - mask.mean()
        assert abs(float((flat[lag:] * flat[:-lag]).mean())) <= 5 / mask.numel() ** 0.5


def test_evaluation_drops_nothing_and_a_seed_fixes_the_mask() -> None:
    rows = torch.randn(50, 7)
    layer = ReluDropout(0.5)
    assert torch.equal(layer.eval()(rows), rows.relu())
    layer.train()
    torch.manual_seed(1)
    first = layer(rows)
    torch.manual_seed(1)
    assert torch.equal(layer(rows), first) and not torch.equal(layer(rows), first)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_every_number_format(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    rows = torch.randn(64, 33, dtype=dtype, requires_grad=True)
    output = ReluDropout(0.25).train()(rows)
    output.sum().backward()
    expected = rows.detach().double().relu() / 0.75
    kept = output.detach() != 0
    assert output.dtype == rows.grad.dtype == dtype
    torch.testing.assert_close(output.detach().double(), expected * kept, rtol=1e-2, atol=0)
    torch.testing.assert_close(rows.grad.double(), kept.double() / 0.75, rtol=1e-2, atol=0)


def test_its_repr_shows_the_rate() -> None:
    layer = ReluDropout(0.5)
    assert "0.5" in repr(layer)
