"""Log-probabilities block by block against ``log_softmax`` of all logits in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from gti_cli.decoding import log_probs
from tests.support.two_devices import TwoDevices


def case(seed: int, rows: int, vocab: int, low: int, high: int) -> tuple[torch.Tensor, ...]:
    """Features, weight, bias, tokens in [low, high)."""
    rng = np.random.default_rng(seed)
    features, weight = rng.standard_normal((rows, 8)), rng.standard_normal((vocab, 8))
    tokens = rng.integers(low, high, (rows, 5))
    as_float = (torch.from_numpy(array).float() for array in (features, weight, rng.standard_normal(vocab)))
    return *as_float, torch.from_numpy(tokens)


def reference(
    features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, tokens: torch.Tensor
) -> torch.Tensor:
    logits = features.double() @ weight.double().T + (0 if bias is None else bias.double())
    return logits.log_softmax(1).gather(1, tokens).float()


@given(
    seed=st.integers(0, 99),
    rows=st.integers(1, 9),
    vocab=st.integers(1, 70),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    words=st.integers(1, 80),
    biased=st.booleans(),
)
def test_any_shape(seed: int, rows: int, vocab: int, ends: tuple[float, float], words: int, biased: bool) -> None:
    low = min(int(min(ends) * vocab), vocab - 1)
    high = max(int(max(ends) * vocab), low + 1)
    features, weight, bias, tokens = case(seed, rows, vocab, low, high)
    given_bias = bias if biased else None
    found = log_probs.log_probs(features, weight, given_bias, tokens, words)
    torch.testing.assert_close(found, reference(features, weight, given_bias, tokens), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("shift", [-3e4, -200.0, -90.0, 90.0, 200.0, 3e4])
def test_extreme_logits_neither_overflow_nor_vanish(shift: float) -> None:
    features, weight, bias, tokens = case(1, rows=6, vocab=50, low=10, high=20)
    bias = bias + shift
    features[::2] *= 40  # rows of either kind in one call
    found = log_probs.log_probs(features, weight, bias, tokens, 7)
    expected = reference(features, weight, bias, tokens)
    torch.testing.assert_close(found, expected, atol=1e-5 * abs(shift), rtol=1e-5)


def test_rows_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    features, weight, bias, tokens = case(2, rows=23, vocab=50, low=0, high=50)
    monkeypatch.setattr(log_probs, "_LOGITS_AT_ONCE", 100)
    torch.testing.assert_close(
        log_probs.log_probs(features, weight, bias, tokens),
        reference(features, weight, bias, tokens),
        atol=2e-5,
        rtol=1e-5,
    )


def test_half_precision_sums_in_float32() -> None:
    features, weight, bias, tokens = case(3, rows=4, vocab=5000, low=100, high=200)
    half = [tensor.bfloat16() for tensor in (features, weight, bias)]
    logits = torch.nn.functional.linear(*half).double()
    expected = logits.log_softmax(1).gather(1, tokens).float()
    torch.testing.assert_close(log_probs.log_probs(*half, tokens), expected, atol=2e-5, rtol=1e-5)


class Made(TorchFunctionMode):
    """The sizes of all logits that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.nn.functional.linear:
            self.sizes.append(result.numel())
        return result


@pytest.mark.parametrize(("at_once", "rows"), [(1 << 22, 23), (60, 3), (10, 1)])
def test_each_logit_is_computed_once_and_few_are_held(at_once: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3,000 logits of a row, those between the tokens (20) are held, and of the others a block at a time."""
    features, weight, bias, tokens = case(4, rows=23, vocab=3000, low=500, high=520)
    tokens[0, 0], tokens[0, 1] = 500, 519
    monkeypatch.setattr(log_probs, "_LOGITS_AT_ONCE", at_once)
    with Made() as made:
        log_probs.log_probs(features, weight, bias, tokens)
    assert sum(made.sizes) == 23 * 3000
    assert max(made.sizes) == rows * log_probs.BLOCK_ON_CPU
    assert len(made.sizes) == -(-23 // rows) * (1 + 1 + 3)  # those between the tokens, 500 before, 2,480 behind


def test_all_is_on_the_device_of_the_model() -> None:
    features, weight, bias, tokens = case(5, rows=6, vocab=50, low=10, high=20)
    features[::2] *= 400  # extreme ones, too
    with TwoDevices():
        found = log_probs.log_probs(features, weight, bias, tokens, 7)
        assert TwoDevices.is_on_device(found)
