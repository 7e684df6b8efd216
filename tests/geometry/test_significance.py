import numpy as np
import pytest
from scipy import stats

from gti_cli.geometry.significance import bootstrap_intervals, permutation_test
from gti_cli.geometry.similarity import cosine_matrix, pearson, spearman


def related(n=60, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n, 12))
    return a, a @ rng.standard_normal((12, 20)) + noise * rng.standard_normal((n, 20)) * 3


def test_p_value_against_a_naive_mantel_test():
    a, b = related(14, 2.0)
    upper = np.triu_indices(14, 1)
    left, right = cosine_matrix(a), cosine_matrix(b)
    observed = stats.pearsonr(left[upper], right[upper]).statistic
    rng = np.random.default_rng(5)
    higher = 0
    for _ in range(999):
        order = rng.permutation(14)
        higher += stats.pearsonr(left[upper], right[np.ix_(order, order)][upper]).statistic >= observed
    found = permutation_test(a, b)
    assert found.permutations == 999
    assert found.pearson_p == pytest.approx((1 + higher) / 1000, abs=0.03)


def test_related_sets_are_significant_and_unrelated_are_not():
    a, b = related()
    assert permutation_test(a, b, permutations=199).pearson_p == pytest.approx(1 / 200)
    values = [
        permutation_test(a, np.random.default_rng(seed).standard_normal((60, 9)), permutations=99).pearson_p
        for seed in range(40)
    ]
    assert np.mean(np.asarray(values) <= 0.05) <= 0.15  # about one in twenty
    assert stats.kstest(values, "uniform").pvalue > 0.001


def test_a_difference_between_groups_alone_is_no_evidence():
    rng = np.random.default_rng(1)
    groups = np.repeat([0, 1, 2], 20)
    centres = 3 * np.eye(3)[groups]
    a, b = (np.hstack([centres, rng.standard_normal((60, 5))]) for _ in range(2))
    assert pearson(a, b) > 0.5
    assert permutation_test(a, b, permutations=199).pearson_p < 0.01
    assert permutation_test(a, b, groups, permutations=199).pearson_p > 0.05


def test_undefined_where_all_rows_are_equal():
    a, b = related(10)
    found = permutation_test(np.ones((10, 4)), b)
    assert np.isnan(found.pearson_p)
    assert found.permutations == 0
    assert np.isnan(bootstrap_intervals(np.ones((10, 4)), b)).all()
    assert not np.isnan(bootstrap_intervals(a, b)).any()
    same = np.repeat(a.astype(np.float32)[:1], 10, axis=0)  # rounding error is no variance
    assert np.isnan(bootstrap_intervals(same, b)).all()


def test_of_great_sets_a_part_is_tested():
    a, b = related(600)
    found = permutation_test(a, b, permutations=99, most=50)
    assert (found.permutations, found.things) == (99, 50)
    assert (found.pearson_p, found.spearman_p) == (0.01, 0.01)
    kept = np.round(np.linspace(0, 599, 50)).astype(int)
    assert found == permutation_test(a[kept], b[kept], permutations=99)


@pytest.mark.parametrize("n", [14, 80])  # below and above what is computed in double precision
def test_spearmans_p_value_against_scipy(n):
    a, b = related(n, 4.0, seed=n)
    upper = np.triu_indices(n, 1)
    left, right = cosine_matrix(a)[upper], cosine_matrix(b)
    rng = np.random.default_rng(5)
    observed = stats.spearmanr(left, right[upper]).statistic
    higher = 0
    for _ in range(300):
        order = rng.permutation(n)
        higher += stats.spearmanr(left, right[np.ix_(order, order)][upper]).statistic >= observed
    assert permutation_test(a, b).spearman_p == pytest.approx((1 + higher) / 301, abs=0.06)


def test_interval_against_a_naive_bootstrap():
    a, b = related(40)
    left, right = cosine_matrix(a), cosine_matrix(b)
    rng = np.random.default_rng(3)
    values = []
    for _ in range(600):
        drawn = rng.integers(0, 40, 40)
        i, j = np.meshgrid(drawn, drawn)
        pairs = i != j
        values.append(stats.pearsonr(left[i[pairs], j[pairs]], right[i[pairs], j[pairs]]).statistic)
    found, ranked = bootstrap_intervals(a, b)
    assert np.allclose(found, np.quantile(values, (0.025, 0.975)), atol=0.03)
    assert found.low < pearson(a, b) < found.high
    assert ranked.low < spearman(a, b) < ranked.high


def test_interval_of_many_things_from_a_part_of_them():
    a, b = related(400)
    whole = bootstrap_intervals(a, b)[0]
    part = bootstrap_intervals(a, b, most=150)[0]
    assert part.high - part.low == pytest.approx(whole.high - whole.low, rel=0.4)


def test_same_seed_same_result():
    a, b = related(20)
    assert permutation_test(a, b, seed=1) == permutation_test(a, b, seed=1)
    assert bootstrap_intervals(a, b, seed=1) == bootstrap_intervals(a, b, seed=1)
