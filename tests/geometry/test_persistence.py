import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from gti_cli.geometry.persistence import cka, moved, row_cosine

shapes = st.tuples(st.integers(4, 15), st.integers(2, 9), st.integers(2, 9), st.integers(0, 2**32 - 1))


def pair(n, d, e, seed):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n, d)) + 3
    return a, a @ rng.standard_normal((d, e)) + rng.standard_normal((n, e))


def naive(a, b):
    """Song et al.'s estimator term by term, from n x n kernels without their diagonals."""

    def hsic(k, l_):
        n = len(k)
        k, l_ = k - np.diag(np.diag(k)), l_ - np.diag(np.diag(l_))
        one = np.ones(n)
        value = np.trace(k @ l_) + (one @ k @ one) * (one @ l_ @ one) / ((n - 1) * (n - 2))
        return (value - 2 / (n - 2) * one @ k @ l_ @ one) / (n * (n - 3))

    k, l_ = a @ a.T, b @ b.T
    return hsic(k, l_) / np.sqrt(hsic(k, k) * hsic(l_, l_))


@settings(max_examples=60)
@given(shapes)
def test_cka_agrees_with_kernels(case):
    a, b = pair(*case)
    assert cka(a, b) == pytest.approx(min(naive(a, b), 1), abs=1e-6)


@settings(max_examples=60)
@given(shapes, st.floats(1e-6, 1e6))
def test_rotation_scale_shift_and_order_do_not_change_cka(case, scale):
    a, b = pair(*case)
    turned = scale * a @ ortho_group.rvs(a.shape[1], random_state=case[3] % 1000) + scale
    order = np.random.default_rng(case[3]).permutation(len(a))
    for found in (cka(turned, b), cka(b, a), cka(a[order], b[order])):
        assert found == pytest.approx(cka(a, b), abs=1e-6)
    assert cka(turned, a) == pytest.approx(1)


@pytest.mark.parametrize("width", [5, 400])
def test_unrelated_sets_have_none(width):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 100, width))
    assert abs(cka(a, b)) < 0.05  # plain CKA gives 0.8 at width 400
    assert abs(row_cosine(a, b)) < 0.1


def test_known_answers():
    a, b = pair(20, 6, 6, 1)
    assert row_cosine(a, 2 * a + 5) == pytest.approx(1)
    assert row_cosine(a, -a) == pytest.approx(-1)
    assert moved(a, 1.5 * a) == pytest.approx(0.5)
    assert moved(a, a) == 0
    half = cka(a, a + 2 * np.random.default_rng(0).standard_normal(a.shape))
    assert 0.1 < half < 0.9
    centred = [rows - rows.mean(axis=0) for rows in (a, b)]
    expected = np.mean([x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(*centred, strict=True)])
    assert row_cosine(a, b) == pytest.approx(expected)


def test_one_point_keeps_nothing():
    a, _ = pair(9, 5, 5, 0)
    same = np.repeat(a[:1].astype(np.float32), 9, axis=0)
    assert np.isnan(cka(same, a))
    assert np.isnan(row_cosine(a, same))
    assert np.isnan(moved(0 * a, a))


def test_refuses_sets_of_other_shapes():
    with pytest.raises(ValueError, match="same rows"):
        cka(np.eye(4), np.eye(5))
    with pytest.raises(ValueError, match="at least 4"):
        cka(np.eye(3), np.eye(3))
    with pytest.raises(ValueError, match="finite"):
        cka(np.full((4, 2), np.nan), np.eye(4))
    with pytest.raises(ValueError, match="one shape"):
        row_cosine(np.eye(3), np.eye(4))
