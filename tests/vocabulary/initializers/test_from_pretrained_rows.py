"""Initializers from the pretrained rows alone, against numpy and transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.geometry.spectrum import effective_rank
from gti_cli.vocabulary.initializers.from_pretrained_rows import (
    FROM_PRETRAINED,
    hf_mean,
    mean,
    moments,
    noisy_mean,
    random,
)
from tests.support.models import make_model


def rows_of(count: int = 300, width: int = 12, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(width, width, generator=generator)
    return torch.randn(count, width, generator=generator) @ mixed + torch.randn(width, generator=generator)


def drawn(function: object, rows: torch.Tensor, count: int, seed: int = 0) -> torch.Tensor:
    return function(rows, count, torch.Generator().manual_seed(seed))  # type: ignore[operator,no-any-return]


@given(st.integers(1, 40), st.integers(1, 9))
def test_moments_are_numpys(count: int, width: int) -> None:
    rows = torch.randn(count, width)
    centre, covariance = moments(rows)
    np.testing.assert_allclose(centre, rows.double().mean(0), atol=1e-9)
    np.testing.assert_allclose(covariance, np.cov(rows.double().numpy().T, ddof=0).reshape(width, width), atol=1e-9)


def test_moments_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of().bfloat16()
    whole = moments(rows)
    monkeypatch.setattr("gti_cli.tensors.matrix_rows.BLOCK", 7 * 12)
    for ours, theirs in zip(moments(rows), whole, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", FROM_PRETRAINED)
def test_shape_type_and_seed(name: str) -> None:
    rows = rows_of()
    first, again, other = (drawn(FROM_PRETRAINED[name], rows, 20, seed) for seed in (0, 0, 1))
    assert first.shape == (20, 12)
    assert first.dtype == torch.float32
    assert torch.isfinite(first).all()
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "mean")


def test_mean_is_the_mean() -> None:
    rows = rows_of()
    assert torch.allclose(drawn(mean, rows, 3), rows.mean(0).expand(3, -1), atol=1e-6)


def test_hf_mean_is_what_transformers_does() -> None:
    """transformers draws from N(mean, 1e-9 covariance): ours has the same centre and spread."""
    model = make_model(vocab_size=300)
    rows = model.get_input_embeddings().weight.detach().clone()
    model.resize_token_embeddings(1300)  # mean_resizing is on
    theirs = model.get_input_embeddings().weight.detach()[300:]
    ours = drawn(hf_mean, rows, 1000)
    for found in (ours, theirs):
        assert (found.mean(0) - rows.mean(0)).abs().max() < 1e-5
    np.testing.assert_allclose(ours.std(0), theirs.std(0), rtol=0.15)
    assert effective_rank(ours.numpy()) < 1.1  # a thousand rows, one point


def test_hf_mean_of_a_singular_covariance_is_the_bare_mean() -> None:
    rows = rows_of(5, 12)
    assert torch.equal(drawn(hf_mean, rows, 4), drawn(mean, rows, 4))


def test_random_has_the_moments_of_the_rows() -> None:
    rows = rows_of(2000, 6)
    found = drawn(random, rows, 40_000)
    centre, covariance = moments(rows)
    drawn_centre, drawn_covariance = moments(found)
    scale = covariance.diagonal().max()
    assert (drawn_centre - centre).abs().max() < 0.03 * scale.sqrt()
    assert (drawn_covariance - covariance).abs().max() < 0.03 * scale


def test_noisy_mean_spreads_by_one_over_the_width() -> None:
    rows = rows_of(500, 16)
    found = drawn(noisy_mean, rows, 20_000) - rows.mean(0)
    np.testing.assert_allclose(found.std(0), 0.25, rtol=0.03)
    assert found.mean(0).abs().max() < 0.01
