import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import pdist

from gti_cli.geometry.similarity import (
    average_ranks,
    centred_rows,
    cosine_matrix,
    mean_cosine,
    paired_cosines,
    pearson,
    spearman,
    spearman_error,
)
from tests.support.geometry import rsa

shapes = st.tuples(st.integers(4, 24), st.integers(2, 9), st.integers(2, 9), st.integers(0, 2**32 - 1))


def pair(n, d, e, seed):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n, d)) + rng.standard_normal(d)
    return a, a @ rng.standard_normal((d, e)) + rng.standard_normal((n, e))


def naive_cosines(rows):
    n = len(rows)
    return [
        float(rows[i] @ rows[j] / (np.linalg.norm(rows[i]) * np.linalg.norm(rows[j])))
        for i in range(n)
        for j in range(i + 1, n)
    ]


@settings(max_examples=60, deadline=None)
@given(shapes)
def test_rsa_agrees_with_scipy_over_a_naive_loop(case):
    a, b = pair(*case)
    left, right = naive_cosines(a), naive_cosines(b)
    found = rsa(a, b)
    assert found.pearson == pytest.approx(stats.pearsonr(left, right).statistic, abs=1e-9)
    assert found.spearman == pytest.approx(stats.spearmanr(left, right).statistic, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(shapes, st.floats(1e-20, 1e20))
def test_rotation_scale_and_order_do_not_change_rsa(case, scale):
    a, b = pair(*case)
    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((a.shape[1], a.shape[1])))
    order = np.random.default_rng(2).permutation(len(a))
    expected = rsa(a, b)
    for found in (rsa(scale * a @ turn, b), rsa(a[order], b[order]), rsa(b, a), rsa(a, scale * b)):
        assert found.pearson == pytest.approx(expected.pearson, abs=1e-8)
        assert found.spearman == pytest.approx(expected.spearman, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(shapes)
def test_cosines_and_their_mean(case):
    a, b = pair(*case)
    np.testing.assert_allclose(1 - pdist(a, "cosine"), cosine_matrix(a)[np.triu_indices(len(a), 1)], atol=1e-12)
    assert mean_cosine(a) == pytest.approx(np.mean(naive_cosines(a)), abs=1e-12)
    other = b[:, :1] * a[0]
    np.testing.assert_allclose(cosine_matrix(a, other), cosine_matrix(np.vstack([a, other]))[: len(a), len(a) :])


def test_known_answers():
    assert np.array_equal(cosine_matrix(np.eye(4)), np.eye(4))
    assert mean_cosine(np.eye(4)) == 0
    assert mean_cosine(np.outer([1.0, 2.0, 3.0], [1.0, -1.0])) == pytest.approx(1)
    assert mean_cosine(np.array([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-1)
    blocks = np.kron(np.eye(2), np.ones((2, 3)))  # 2 of 6 pairs alike
    assert mean_cosine(blocks) == pytest.approx(1 / 3)
    a, _ = pair(12, 4, 4, 0)
    assert rsa(a, a).pearson == pytest.approx(1)
    assert rsa(a, a).spearman == pytest.approx(1)


def test_unrelated_sets_do_not_correlate():
    rng = np.random.default_rng(0)
    found = rsa(rng.standard_normal((300, 16)), rng.standard_normal((300, 16)))
    assert abs(found.pearson) < 0.03
    assert abs(found.spearman) < 0.03


def test_one_point_has_no_correlation():
    rng = np.random.default_rng(0)
    same = np.repeat(rng.standard_normal((1, 33)).astype(np.float32), 40, axis=0)
    found = rsa(same, rng.standard_normal((40, 5)))
    assert np.isnan(found.pearson)
    assert np.isnan(found.spearman)


def test_rows_that_are_almost_one_point_still_correlate_exactly():
    """Cosines of 1 - 1e-10: the textbook formula cancels, the sums over deviations do not."""
    rng = np.random.default_rng(3)
    structure = rng.standard_normal((30, 6))
    centre = 10 * rng.standard_normal(6)
    a = centre + 1e-4 * structure
    left = np.asarray([sum((u - v) ** 2) for i, u in enumerate(unit(a)) for v in unit(a)[i + 1 :]])  # 2 - 2 cos
    right = naive_cosines(structure)
    assert pearson(a, structure) == pytest.approx(stats.pearsonr(-left, right).statistic, abs=1e-6)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_rows_of_zeros_have_cosine_zero():
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, -1.0]])
    cosines = cosine_matrix(rows)
    assert np.array_equal(cosines[0], np.zeros(4))
    upper = cosines[np.triu_indices(4, 1)]
    other = naive_cosines(np.random.default_rng(0).standard_normal((4, 3)))
    b = np.random.default_rng(0).standard_normal((4, 3))
    assert pearson(rows, b) == pytest.approx(stats.pearsonr(upper, other).statistic, abs=1e-12)
    assert mean_cosine(rows) == pytest.approx(upper.mean())


def test_ties_get_mean_ranks():
    values = np.array([3.0, 1.0, 3.0, 2.0, 1.0, 1.0])
    assert np.array_equal(average_ranks(values), stats.rankdata(values))
    blocks = np.kron(np.eye(3), np.ones((4, 2)))
    other = np.random.default_rng(0).standard_normal((12, 5))
    expected = stats.spearmanr(np.round(naive_cosines(blocks), 12), naive_cosines(other)).statistic
    assert spearman(blocks, other) == pytest.approx(expected, abs=1e-9)


def test_centred_rows():
    a, _ = pair(12, 4, 4, 0)
    wanted = a - a.mean(axis=0)
    np.testing.assert_allclose(centred_rows(a), wanted / np.abs(wanted).max())
    same = np.repeat(a[:1].astype(np.float32), 50, axis=0)
    assert not centred_rows(same).any()  # nothing, not the rounding error of the mean
    assert centred_rows(same + 1e-6 * np.arange(50)[:, None]).any()


def test_refuses_too_few_rows_and_what_is_no_finite_matrix():
    with pytest.raises(ValueError, match="at least 2"):
        mean_cosine(np.eye(1))
    with pytest.raises(ValueError, match="NaN"):
        cosine_matrix(np.array([[np.nan]]))
    with pytest.raises(ValueError, match="matrix"):
        cosine_matrix(np.ones(3))


def test_sampled_spearman_is_within_its_stated_error():
    a, b = pair(400, 6, 6, 0)
    exact = spearman(a, b)
    for seed in range(5):
        sampled = spearman(a, b, most_pairs=20_000, seed=seed)
        error = spearman_error(400, sampled, most_pairs=20_000)
        assert 0 < error < 0.02
        assert abs(sampled - exact) < 4 * error
    assert spearman_error(400, exact) == 0


def test_sampled_pairs_are_pairs_each_once_and_every_row_equally_often():
    ids = np.arange(1300)
    angle = ids / 3000  # the cosine of two rows tells their distance
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    left, right = paired_cosines(rows, rows, most_pairs=1300 * 7)
    assert len(left) == 1300 * 7
    assert np.array_equal(left, right)
    distance = np.round(np.arccos(left) * 3000).astype(int)
    assert distance.min() >= 1  # no row with itself
    everything = np.cos((ids[:, None] - ids)[np.triu_indices(1300, 1)] / 3000)
    assert left.mean() == pytest.approx(everything.mean(), abs=0.003)
