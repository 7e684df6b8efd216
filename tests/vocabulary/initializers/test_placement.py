"""Norms and distances of rows, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.vocabulary.initializers.placement import Placement, rms_distance, scale_to_norm
from gti_cli.vocabulary.new_rows import FROM_MEANING, USE_DISTANCE
from tests.support.models import make_tokenizer
from tests.support.vocabulary import catalogue_tokens, pretrained_rows

TOKENIZER = make_tokenizer()


def test_distance_moves_rows_along_the_line_from_the_mean() -> None:
    matrix = pretrained_rows(TOKENIZER)
    centre = matrix.double().mean(0)
    for name in USE_DISTANCE:
        usual = FROM_MEANING[name](matrix, catalogue_tokens(), TOKENIZER, Placement(1.0)).double() - centre
        near = FROM_MEANING[name](matrix, catalogue_tokens(), TOKENIZER, Placement(0.7)).double() - centre
        torch.testing.assert_close(near, 0.7 * usual, atol=1e-6, rtol=1e-5)


def test_initializers_without_a_distance_ignore_it() -> None:
    tokens, matrix = catalogue_tokens(), pretrained_rows(TOKENIZER)
    described = type(tokens)(tokens.names, ["red dress"] * len(tokens.names))
    for name in set(FROM_MEANING) - set(USE_DISTANCE):
        first, second = (FROM_MEANING[name](matrix, described, TOKENIZER, Placement(d)) for d in (1.0, 0.5))
        assert torch.equal(first, second)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 9))
def test_rms_distance_in_blocks(count: int, width: int, block: int) -> None:
    rows = torch.randn(count, width)
    centre = rows.double().mean(0)
    expected = float(((rows.double() - centre) ** 2).sum(1).mean().sqrt())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gti_cli.tensors.matrix_rows.BLOCK", block * width)
        np.testing.assert_allclose(rms_distance(rows, centre), expected, rtol=1e-12)


def test_directions_stay_and_zero_vectors_stay_zero() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-1e-6, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[1.2, 1.6], [0.0, 0.0], [-2.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(scale_to_norm(vectors, 2.0), expected)
