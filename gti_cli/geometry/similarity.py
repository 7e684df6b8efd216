"""Cosine similarities among rows, and the correlation of two sets of them (representational similarity analysis, RSA).

RSA compares two sets of rows, a (n, d) and b (n, d'), that stand for the same n things: it correlates the cosines of
all pairs of rows of a with those of b, as the paper compares learned rows with codebook vectors (Kriegeskorte et al.,
Front. Syst. Neurosci. 2:4, 2008). `pearson` and `spearman` are its two correlations.

Pearson's r needs sums over all pairs of cosines, which are products of small matrices. With unit rows u_i, their mean m
and d_i = u_i - m,

    cos_ij = |m|^2 + a_i + a_j + d_i . d_j,   a_i = m . d_i.

So with X = [d, a, 1], the deviations of the cosines from |m|^2 are P = X G X', where G is the identity with its last
two columns swapped. The sum over all pairs of the product of P and Q, element by element, is the trace of a product of
(d + 2, d' + 2) matrices. It is exact and needs no n x n matrix. It is also stable where all cosines are nearly 1, as
of rows that have collapsed: the common part |m|^2, in which digits would cancel, is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]

FLAT = 1e-13  # a standard deviation of cosines up to this is rounding error of equal cosines
MOST_PAIRS = 2_000_000  # Spearman's rho ranks at most this many pairs (those of 2,000 rows), else it ranks a sample
_BAND = 512  # rows whose sampled cosines are computed at a time
TIE = 12  # decimals to which cosines are rounded before they are ranked, so that rounding error does not break ties


def unit_rows(rows: Array) -> Matrix:
    """Divide ``rows`` (n, d) by their Euclidean norms, in float64; rows of zeros stay zeros.

    Rows are divided by their largest entry first, so that squares neither overflow nor vanish. `normalize` of
    scikit-learn does not do that.

    Raises:
        ValueError: When ``rows`` is not a matrix, is empty, or holds NaN or infinity.
    """
    matrix = np.asarray(rows, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"need a matrix with rows, not an array of shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("the rows hold NaN or infinity")
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    scaled = np.divide(matrix, largest, out=np.zeros_like(matrix), where=largest > 0)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(np.divide(scaled, norms, out=np.zeros_like(matrix), where=norms > 0))


def centred_rows(rows: Array) -> Matrix:
    """Subtract the mean row from ``rows`` (n, d), and divide by the largest entry of the result; float64.

    Equal rows give zeros: the rounding error that is left of them is not scaled up.

    Raises:
        ValueError: When ``rows`` is not a matrix, is empty, or holds NaN or infinity.
    """
    matrix = np.asarray(rows, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0 or not np.isfinite(matrix).all():
        raise ValueError("need a matrix of finite numbers")
    largest = float(np.abs(matrix).max())
    centred = matrix - matrix.mean(axis=0)
    largest_centred = float(np.abs(centred).max())
    if largest_centred <= 4 * np.finfo(np.float64).eps * len(matrix) * largest:
        return np.zeros_like(matrix)
    return np.asarray(centred / largest_centred)


def cosine_matrix(rows: Array, others: Array | None = None) -> Matrix:
    """Cosines of each row with each other row.

    A row of zeros has cosine 0 with every row, itself included.

    Args:
        rows: (n, d).
        others: (m, d). None: ``rows``.

    Returns:
        (n, m) float64, in [-1, 1].
    """
    left = unit_rows(rows)
    right = left if others is None else unit_rows(others)
    return np.asarray(np.clip(left @ right.T, -1.0, 1.0))


def mean_cosine(rows: Array) -> float:
    """Mean cosine over the n (n - 1) / 2 pairs of ``rows`` (n, d), exact, without the n x n matrix.

    The sum of all cosines is the squared norm of the sum of the unit rows.

    Raises:
        ValueError: When there are fewer than two rows.
    """
    units = unit_rows(rows)
    if len(units) < 2:
        raise ValueError(f"need at least 2 rows, not {len(units)}")
    total = np.sum(units.sum(axis=0) ** 2) - np.sum(units**2)
    return float(np.clip(total / (len(units) * (len(units) - 1)), -1.0, 1.0))


def pearson(a: Array, b: Array) -> float:
    """Pearson correlation between the cosines among ``a`` (n, d) and those among ``b`` (n, d'), exact in O(n d d').

    NaN where all cosines of one side are equal.
    """
    left, right = PairSums.of(a), PairSums.of(b)
    return left.correlation(right)


def spearman(a: Array, b: Array, *, most_pairs: int = MOST_PAIRS, seed: int = 0) -> float:
    """Spearman correlation between the cosines among ``a`` (n, d) and those among ``b`` (n, d').

    It is exact for up to ``most_pairs`` pairs, else of a sample of pairs. The sample puts the n rows in a random order
    on a circle and pairs each with the next few, so that every row is in equally many pairs. `spearman_error` is its
    standard error. NaN where all cosines of one side are equal.

    Args:
        a: (n, d).
        b: (n, d'). Row i stands for the same thing as row i of ``a``.
        most_pairs: Largest number of pairs to rank.
        seed: Seed of the sample.
    """
    return rank_correlation(*paired_cosines(a, b, most_pairs=most_pairs, seed=seed))


def rank_correlation(left: Matrix, right: Matrix) -> float:
    """Spearman correlation of two vectors of cosines (p,), rounded to 1e-12; NaN where those of one are all equal."""
    ranked = []
    for cosines in (left, right):
        if float(np.std(cosines)) <= FLAT:
            return float("nan")
        rank = average_ranks(np.round(cosines, TIE))
        ranked.append(rank - rank.mean())
    norm = np.sqrt(ranked[0] @ ranked[0]) * np.sqrt(ranked[1] @ ranked[1])
    return float(np.clip(ranked[0] @ ranked[1] / norm, -1.0, 1.0)) if norm > 0 else float("nan")


def paired_cosines(a: Array, b: Array, *, most_pairs: int = MOST_PAIRS, seed: int = 0) -> tuple[Matrix, Matrix]:
    """The cosines of the same pairs of rows among ``a`` and among ``b``: all pairs, or a sample as in `spearman`.

    Args:
        a: (n, d).
        b: (n, d').
        most_pairs: Where there are more pairs, about this many are sampled.
        seed: Seed of the sample.

    Returns:
        Two vectors (p,), with the pairs in the same order.
    """
    n = len(a)
    if n * (n - 1) // 2 <= most_pairs:
        upper = np.triu_indices(n, 1)
        return cosine_matrix(a)[upper], cosine_matrix(b)[upper]
    reach = max(1, most_pairs // n)  # pairs of each row; fewer than n / 2, so no pair comes twice
    order = np.random.default_rng(seed).permutation(n)
    circle = np.concatenate([order, order[:reach]])
    cosines = []
    for rows in (a, b):
        units = unit_rows(rows)[circle]
        bands = [_band(units[start : start + _BAND + reach], reach) for start in range(0, n, _BAND)]
        cosines.append(np.concatenate(bands))
    return cosines[0], cosines[1]


def _band(units: Matrix, reach: int) -> Matrix:
    """Cosines of each of the first len(units) - reach rows with the ``reach`` rows that follow it, one vector."""
    count = len(units) - reach
    cosines = units[:count] @ units.T
    columns = np.arange(1, reach + 1) + np.arange(count)[:, None]
    return np.asarray(np.clip(np.take_along_axis(cosines, columns, axis=1), -1.0, 1.0).ravel())


def spearman_error(n: int, value: float, *, most_pairs: int = MOST_PAIRS) -> float:
    """Standard error of `spearman` that comes from sampling pairs; 0 where all pairs are used.

    For p pairs drawn independently it is sqrt(1 + rho^2 / 2) (1 - rho^2) / sqrt(p) (Bonett & Wright, Psychometrika 65,
    2000). The true error is smaller, because every row is in equally many pairs.

    Args:
        n: Number of rows.
        value: The correlation rho.
        most_pairs: As given to `spearman`.
    """
    if n * (n - 1) // 2 <= most_pairs:
        return 0.0
    pairs = n * max(1, most_pairs // n)
    return float((1 - value**2) * np.sqrt((1 + value**2 / 2) / pairs))


def average_ranks(values: Matrix) -> Matrix:
    """Ranks of ``values`` (n,) from 1; tied values get the mean of their ranks.

    ``scipy.stats.rankdata`` gives the same in the same time. But importing ``scipy.stats`` takes a second, which is as
    long as all other work of a small diagnosis.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    # Runs of equal values: each begins at index first and ends before index last.
    first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    last = np.concatenate((first[1:], [len(values)]))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((first + 1 + last) / 2, last - first)
    return ranks


class PairSums:
    """Sums over pairs of P, the deviations of the cosines from |m|^2; see the docstring of this module.

    Attributes:
        x: (n, d + 2) float64. X = [d, a, 1].
        own: (n,). The diagonal of P, which belongs to no pair.
    """

    def __init__(self, x: Matrix) -> None:
        self.x = x
        self.own = 2 * x[:, -2] + np.sum(x[:, :-2] ** 2, axis=1)

    @classmethod
    def of(cls, rows: Array) -> PairSums:
        """Prepare ``rows`` (n, d)."""
        units = unit_rows(rows)
        mean = units.mean(axis=0)
        deviation = units - mean
        return cls(np.hstack([deviation, (deviation @ mean)[:, None], np.ones((len(units), 1))]))

    def total(self) -> float:
        """Sum of P_ij over ordered pairs i != j."""
        sums = self.x.sum(axis=0)
        return float(sums[:-2] @ sums[:-2] + 2 * sums[-2] * sums[-1] - self.own.sum())

    def product(self, other: PairSums) -> float:
        """Sum of P_ij Q_ij over ordered pairs i != j, with Q of ``other``."""
        if len(self.x) < min(self.x.shape[1], other.x.shape[1]):
            return float(np.sum(self._pairs() * other._pairs()) - self.own @ other.own)
        cross = self.x.T @ other.x
        return float(np.sum(_swapped(cross) * cross) - self.own @ other.own)

    def _pairs(self) -> Matrix:
        """P itself (n, n), which is cheaper where there are fewer rows than columns."""
        deviations, along = self.x[:, :-2], self.x[:, -2]
        return np.asarray(deviations @ deviations.T + along + along[:, None])

    def moments(self) -> tuple[float, float]:
        """Mean and variance of P over the pairs; the variance does not go below 0 by rounding."""
        pairs = len(self.x) * (len(self.x) - 1)
        mean = self.total() / pairs
        return mean, max(self.product(self) / pairs - mean**2, 0.0)

    def correlation(self, other: PairSums) -> float:
        """Pearson correlation of P and Q over the pairs, with Q of ``other``; NaN where one of them is constant."""
        (mean_p, var_p), (mean_q, var_q) = self.moments(), other.moments()
        if var_p**0.5 <= FLAT or var_q**0.5 <= FLAT:
            return float("nan")
        covariance = self.product(other) / (len(self.x) * (len(self.x) - 1)) - mean_p * mean_q
        return float(np.clip(covariance / (var_p**0.5 * var_q**0.5), -1.0, 1.0))


def _swapped(matrix: Matrix) -> Matrix:
    """The matrix with its last two rows swapped, and its last two columns swapped: G M G'."""
    rows, columns = np.arange(matrix.shape[0]), np.arange(matrix.shape[1])
    rows[-2:], columns[-2:] = rows[-2:][::-1].copy(), columns[-2:][::-1].copy()
    return np.asarray(matrix[np.ix_(rows, columns)])
