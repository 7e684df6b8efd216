"""Significance of RSA: a permutation test and bootstrap intervals.

As in `gti_cli.geometry.similarity`, two sets of rows a (n, d) and b (n, d') stand for the same n things.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gti_cli.geometry.sampling import evenly
from gti_cli.geometry.similarity import FLAT, TIE, average_ranks, cosine_matrix

Array = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]

PERMUTATIONS = 999
RESAMPLES = 999
MOST_PERMUTED = 512  # most things in the permutation test, which holds all their pairs
MOST_RESAMPLED = 768  # most things in the bootstrap, which holds n x n matrices
_FEW = 64  # up to this many things, the permutation test computes in double precision


class Significance(NamedTuple):
    """The result of a permutation test.

    Attributes:
        pearson_p: One-sided p-value of Pearson's r; NaN where the correlation is undefined.
        spearman_p: One-sided p-value of Spearman's rho; NaN where the correlation is undefined.
        permutations: Number of permutations that were drawn.
        things: Number of things that took part.
    """

    pearson_p: float
    spearman_p: float
    permutations: int
    things: int


class Interval(NamedTuple):
    """The two ends of a 95 % interval of a correlation; NaN where it is undefined."""

    low: float
    high: float


def permutation_test(
    a: Array,
    b: Array,
    groups: npt.NDArray[np.integer[Any]] | None = None,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    most: int = MOST_PERMUTED,
) -> Significance:
    """Test whether the RSA of ``a`` with ``b`` is higher than that of rows paired at random (Mantel, 1967).

    The rows of ``b`` are permuted. p = (1 + number of permutations with a correlation as high) / (1 + permutations),
    from the same permutations for both correlations.

    Args:
        a: (n, d).
        b: (n, d'). Row i stands for the same thing as row i of ``a``.
        groups: (n,). Rows are permuted within their group only, for example codes within their level, so that a
            difference between groups alone is no evidence. None: one group.
        permutations: Number of permutations.
        seed: Seed of the permutations.
        most: Largest number of things to test. Of more, an evenly spread part is tested, which has less power, so p is
            rather too large.
    """
    tested = evenly(len(a), most)
    n = len(tested)
    upper = np.triu_indices(n, 1)
    left, right = (cosine_matrix(rows[tested])[upper] for rows in (a, b))
    if min(float(np.std(left)), float(np.std(right))) <= FLAT:
        return Significance(float("nan"), float("nan"), 0, n)
    # With few things, several permutations have exactly the observed correlation. Single precision would tell them
    # apart.
    dtype = np.float64 if n <= _FEW else np.float32
    # A permutation changes neither means nor variances, so the sums of products of centred values are compared in
    # place of the correlations. First for Pearson (values), then for Spearman (ranks): the pairs of a as a vector, and
    # those of b as a flattened (n, n) matrix, from which a permutation picks its pairs.
    vectors, squares = [], []
    for values in ((left, right), (_pair_ranks(left), _pair_ranks(right))):
        centred = [(value - value.mean()).astype(dtype) for value in values]
        vectors.append(centred[0])
        square = np.zeros((n, n), dtype=dtype)
        square[upper] = centred[1]
        squares.append(np.ascontiguousarray(square + square.T).ravel())
    identity = (upper[0] * n + upper[1]).astype(np.int32)
    observed = [float(vector @ square[identity]) for vector, square in zip(vectors, squares, strict=True)]
    # Sums in another order differ by rounding; a tolerance keeps equal correlations equal.
    slack = [1e-12 * float(np.linalg.norm(vector)) ** 2 for vector in vectors] if dtype is np.float64 else [0.0, 0.0]
    rng = np.random.default_rng(seed)
    labels = np.zeros(n, dtype=np.int64) if groups is None else np.asarray(groups)[tested]
    members = [np.flatnonzero(labels == group) for group in np.unique(labels)]
    as_high = [0, 0]
    order = np.empty(n, dtype=np.int32)
    for _ in range(permutations):
        for rows in members:
            order[rows] = rng.permutation(rows)
        pairs = order[upper[0]] * np.int32(n) + order[upper[1]]
        for i in (0, 1):
            as_high[i] += float(vectors[i] @ squares[i][pairs]) >= observed[i] - slack[i]
    p = [(1 + count) / (1 + permutations) for count in as_high]
    return Significance(p[0], p[1], permutations, n)


def _pair_ranks(cosines: Matrix) -> Matrix:
    """Ranks of cosines (p,); those that are equal to 1e-12 are tied."""
    return average_ranks(np.round(cosines, TIE))


def bootstrap_intervals(
    a: Array, b: Array, *, resamples: int = RESAMPLES, seed: int = 0, most: int = MOST_RESAMPLED
) -> tuple[Interval, Interval]:
    """Percentile bootstrap intervals (95 %) of Pearson's r and Spearman's rho of RSA, over the things compared.

    Things are drawn with replacement. A thing that is drawn twice forms no pair with itself. Ranks are those among all
    pairs; they are not computed anew in each resample.

    Args:
        a: (n, d).
        b: (n, d'). Row i stands for the same thing as row i of ``a``.
        resamples: Number of resamples.
        seed: Seed of the resamples.
        most: Largest number of things to resample. Of more, an evenly spread part is resampled. The interval of all n
            things is narrower, so the spread is then scaled by sqrt(most / n).

    Returns:
        The intervals of r and of rho.
    """
    n = len(a)
    resampled = evenly(n, most)
    count = len(resampled)
    rng = np.random.default_rng(seed)
    # A resample is a vector of weights: how often each thing was drawn.
    weights = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
    cosines = cosine_matrix(a[resampled]), cosine_matrix(b[resampled])
    shrink = float(np.sqrt(count / n))
    equal_weights = np.ones((1, count))
    intervals = []
    for ranked in (False, True):
        sides = [_ranks(matrix) if ranked else matrix for matrix in cosines]
        values = _weighted_correlations(sides[0], sides[1], weights)
        estimate = float(_weighted_correlations(sides[0], sides[1], equal_weights)[0])
        values = values[np.isfinite(values)]
        if not np.isfinite(estimate) or values.size < resamples / 2:
            intervals.append(Interval(float("nan"), float("nan")))
            continue
        low, high = estimate + (np.quantile(values, (0.025, 0.975)) - estimate) * shrink
        intervals.append(Interval(float(low), float(high)))
    return intervals[0], intervals[1]


def _ranks(cosines: Matrix) -> Matrix:
    """The symmetric matrix (n, n) of the ranks of the upper triangle, with zeros on the diagonal."""
    upper = np.triu_indices(len(cosines), 1)
    out = np.zeros_like(cosines)
    out[upper] = _pair_ranks(cosines[upper])
    return np.asarray(out + out.T)


def _weighted_correlations(p: Matrix, q: Matrix, weights: Matrix) -> Matrix:
    """Pearson correlations over pairs i != j with weights w_i w_j.

    Args:
        p: (n, n). Values of the pairs.
        q: (n, n). Values of the same pairs.
        weights: (r, n). One row w for each resample.

    Returns:
        (r,). NaN where one side is constant.
    """
    off_diagonal = ~np.eye(len(p), dtype=bool)
    # The overall means are subtracted first, so that variances do not cancel. Zeros on the diagonal drop pairs i = i.
    left, right = (np.where(off_diagonal, matrix - matrix[off_diagonal].mean(), 0.0) for matrix in (p, q))
    total_weight = weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)
    total_weight = np.where(total_weight > 0, total_weight, np.nan)

    def mean(matrix: Matrix) -> Matrix:
        """The weighted mean over the pairs, for each resample."""
        return np.asarray(np.einsum("ri,ri->r", weights @ matrix, weights) / total_weight)

    mean_p, mean_q = mean(left), mean(right)
    variance_p, variance_q = mean(left * left) - mean_p**2, mean(right * right) - mean_q**2
    std_p, std_q = np.sqrt(np.maximum(variance_p, 0)), np.sqrt(np.maximum(variance_q, 0))
    valid = (std_p > FLAT) & (std_q > FLAT)
    correlations = np.full(len(weights), np.nan)
    covariance = mean(left * right) - mean_p * mean_q
    correlations[valid] = np.clip(covariance[valid] / (std_p[valid] * std_q[valid]), -1.0, 1.0)
    return correlations
