import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.geometry.neighbours import nearest
from gti_cli.geometry.similarity import cosine_matrix


def blocks_of(rows, sizes):
    start = 0
    for size in sizes:
        yield np.arange(start, start + size) + 100, rows[start : start + size]
        start += size


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(1, 7), st.integers(0, 9999))
def test_blocks_find_what_brute_force_finds(n, sizes, k, seed):
    if sum(sizes) == 0:
        sizes = [3]
    rng = np.random.default_rng(seed)
    queries, rows = rng.standard_normal((n, 5)), rng.standard_normal((sum(sizes), 5))
    found = nearest(queries, blocks_of(rows, sizes), k)
    cosines = cosine_matrix(queries, rows)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    assert np.array_equal(found.ids, order + 100)
    np.testing.assert_allclose(found.cosines, np.take_along_axis(cosines, order, axis=1), atol=1e-6)


def test_equal_cosines_go_to_the_smaller_id():
    rows = np.tile([[1.0, 0.0]], (40, 1))
    found = nearest(np.array([[2.0, 0.0]]), blocks_of(rows, [20, 20]), 3)
    assert found.ids.tolist() == [[100, 101, 102]]


def test_refuses_nothing_to_search_and_no_neighbours():
    with pytest.raises(ValueError, match="no rows"):
        nearest(np.eye(2), [], 1)
    with pytest.raises(ValueError, match="k must"):
        nearest(np.eye(2), [], 0)
