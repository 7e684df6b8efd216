import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.geometry.blocks import block_cosines, direction_order
from gti_cli.geometry.similarity import cosine_matrix


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 20), st.integers(1, 5), st.integers(0, 9999))
def test_agrees_with_a_loop_over_pairs(n, kinds, seed):
    rng = np.random.default_rng(seed)
    rows, groups = rng.standard_normal((n, 4)), rng.integers(0, kinds, n) * 7
    cosines = cosine_matrix(rows)
    pairs = [(cosines[i, j], groups[i] == groups[j]) for i in range(n) for j in range(i)]
    within, between = ([c for c, same in pairs if same is np.bool_(flag)] for flag in (True, False))
    found = block_cosines(rows, groups)
    for value, expected in ((found.within, within), (found.between, between)):
        assert np.isnan(value) if not expected else value == pytest.approx(np.mean(expected), abs=1e-9)


def test_known_blocks():
    groups = np.repeat([0, 1, 2], 4)
    found = block_cosines(np.eye(3)[groups], groups)
    assert (found.within, found.between, found.contrast) == (1, 0, 1)
    with pytest.raises(ValueError, match="one group"):
        block_cosines(np.eye(3), groups)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(0, 9999))
def test_order_is_a_permutation_and_always_the_same(n, seed):
    rows = np.random.default_rng(seed).standard_normal((n, 3))
    order = direction_order(rows)
    assert sorted(order) == list(range(n))
    assert np.array_equal(order, direction_order(rows))


def test_clusters_come_together():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(4), 10))
    rows = 5 * np.eye(4)[labels] + 0.1 * rng.standard_normal((40, 4))
    ordered = labels[direction_order(rows)]
    assert np.count_nonzero(np.diff(ordered)) == 3


def test_equal_rows_keep_their_order():
    assert direction_order(np.ones((6, 2))).tolist() == list(range(6))
    assert direction_order(np.zeros((6, 2))).tolist() == list(range(6))
