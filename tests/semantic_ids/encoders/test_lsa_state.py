from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from gti_cli.semantic_ids.encoders.lsa_state import LsaState, decompose, project


@pytest.mark.parametrize("width", [3, 20])
def test_vectors_are_those_of_a_dense_svd(width: int) -> None:
    weights = sparse.random(30, 12, density=0.4, format="csr", dtype=np.float32, random_state=0)
    components = decompose(weights, width, seed=0)
    rank = min(width, 12)
    left, values, _ = np.linalg.svd(weights.toarray(), full_matrices=False)
    expected = left[:, :rank] * values[:rank]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    vectors, zeros = project(weights, components)
    assert components.shape == (rank, 12) and zeros == 0
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=0.02)


@pytest.mark.parametrize("grams", [None, (1, 2)])
def test_a_state_survives_its_arrays(grams: tuple[int, int] | None) -> None:
    state = LsaState(["blau", "rot 裙"], np.float32([1, 2]), np.ones((1, 2), np.float32), grams)
    again = LsaState.from_arrays(state.arrays())
    assert (again.terms, again.grams) == (state.terms, grams)
    np.testing.assert_array_equal(again.idf, state.idf)
