"""The steps of LSA against numpy's exact decomposition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from gti_cli.semantic_ids.encoders.lsa_state import LsaState, decompose, project


def weights(rows: int, terms: int, seed: int = 0) -> np.ndarray:
    """Rows of rank 3 with a little noise."""
    rng = np.random.default_rng(seed)
    return (rng.random((rows, 3)) @ rng.random((3, terms)) + 0.01 * rng.random((rows, terms))).astype(np.float32)


@pytest.mark.parametrize("width", [3, 100])
def test_components_span_what_an_exact_decomposition_spans(width: int) -> None:
    matrix = weights(40, 25)
    found = decompose(csr_array(matrix), width, seed=1)
    exact = np.linalg.svd(matrix, full_matrices=False)[2][: len(found)]
    assert found.shape == (min(width, 25), 25)
    np.testing.assert_allclose(found @ found.T, np.eye(len(found)), atol=1e-4)
    np.testing.assert_allclose(found[:3].T @ found[:3], exact[:3].T @ exact[:3], atol=1e-3)


def test_projected_rows_have_length_one_and_empty_texts_are_counted() -> None:
    matrix = weights(12, 9)
    matrix[[2, 7]] = 0
    components = decompose(csr_array(matrix), 4, seed=0)
    vectors, empty = project(csr_array(matrix), components)
    assert empty == 2
    expected = matrix @ components.T
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, np.divide(expected, lengths, where=lengths > 0, out=expected), atol=1e-5)


@pytest.mark.parametrize("grams", [None, (2, 3)])
def test_state_survives_a_file(grams: tuple[int, int] | None) -> None:
    state = LsaState(["red", "red dress", "裙子"], np.arange(3, dtype=np.float32), np.ones((2, 3), np.float32), grams)
    again = LsaState.from_arrays(state.arrays())
    assert (again.terms, again.grams) == (state.terms, grams)
    assert np.array_equal(again.idf, state.idf) and np.array_equal(again.components, state.components)
