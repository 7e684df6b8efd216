import numpy as np
import pytest

from gti_cli.checkpoints.codebook_vectors import match_codebooks
from gti_cli.diagnostics.pictures.hierarchy import binned_cosines, hierarchy_order
from gti_cli.geometry.similarity import cosine_matrix
from tests.support.diagnostics import tokens_of


def test_levels_first_then_parents_then_codes():
    tokens = tokens_of([1, -1, 0, 1, 0, 1, 0], [0, -1, 2, 1, 0, 2, 1])
    assert hierarchy_order(tokens, None, None).tolist() == [4, 6, 2, 0, 3, 5, 1]
    parents = np.array([2, -1, -1, 0, -1, 2, -1])
    assert hierarchy_order(tokens, None, parents).tolist() == [4, 6, 2, 3, 0, 5, 1]
    orphan = np.array([-1, -1, -1, 1, -1, 0, -1])
    assert hierarchy_order(tokens, None, orphan).tolist() == [4, 6, 2, 5, 3, 0, 1]


def test_alike_codes_come_together():
    labels = np.array([0, 1, 0, 1, 1, 0, 0, 1])
    book = (np.eye(2)[labels] + 0.01 * np.random.default_rng(0).standard_normal((8, 2))).astype(np.float32)
    tokens = tokens_of([0] * 8, range(8))
    order = hierarchy_order(tokens, match_codebooks(tokens, [book], "x"), None)
    assert np.count_nonzero(np.diff(labels[order])) == 1


def test_a_small_image_is_the_matrix_and_a_large_one_its_means():
    rows = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)
    assert np.allclose(binned_cosines(rows), cosine_matrix(rows))
    means = cosine_matrix(rows).reshape(20, 3, 20, 3).mean(axis=(1, 3))
    assert np.allclose(binned_cosines(rows, 20), means)
    assert binned_cosines(rows, 7).shape == (7, 7)
    assert binned_cosines(rows, 7)[0, 0] == pytest.approx(cosine_matrix(rows)[:8, :8].mean())
