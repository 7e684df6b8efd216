"""Cosine similarities among rows, and how alike two sets of similarities are (representational similarity analysis).

Every sum over pairs of cosines is a product of small matrices. With unit rows u_i, their mean m and d_i = u_i - m,

    cos_ij = |m|^2 + a_i + a_j + d_i . d_j,   a_i = m . d_i,

so with X = [d, a, 1] the deviations from |m|^2 are P = X G X' (G the identity with its last two columns swapped), and a
sum over all pairs of P o Q is the trace of a product of (d + 2, d' + 2) matrices. That is exact, needs no n x n matrix,
and does not cancel where all cosines are nearly 1 (rows that have collapsed), because the constant |m|^2 is gone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]

FLAT = 1e-13  # cosines whose standard deviation is below this are equal: what is left is rounding error
MOST_PAIRS = 2_000_000  # that are ranked (2,000 rows); beyond, Spearman's rho is of a sample
_BAND = 512  # rows at a time
TIE = 12  # decimals: cosines that agree to 1e-12 are tied in rank


class Correlation(NamedTuple):
    """Pearson and Spearman correlation; NaN where one side has no variance (all pairs equally similar)."""

    pearson: float
    spearman: float


def unit_rows(rows: Array) -> Matrix:
    """``rows`` (n, d) divided by their Euclidean norms, float64; rows of zeros stay zeros.

    Raises:
        ValueError: no matrix, or NaN or infinity in it.
    """
    matrix = np.asarray(rows, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"need a matrix with rows, not an array of shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("the rows hold NaN or infinity")
    largest = np.abs(matrix).max(axis=1, keepdims=True)  # scaled first: squares of tiny numbers vanish
    scaled = np.divide(matrix, largest, out=np.zeros_like(matrix), where=largest > 0)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(np.divide(scaled, norms, out=np.zeros_like(matrix), where=norms > 0))


def centred_rows(rows: Array) -> Matrix:
    """``rows`` (n, d) less their mean row, divided by the largest entry that is left; float64.

    Zeros where what is left of equal rows is rounding error.

    Raises:
        ValueError: no matrix, or NaN or infinity in it.
    """
    matrix = np.asarray(rows, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0 or not np.isfinite(matrix).all():
        raise ValueError("need a matrix of finite numbers")
    largest = float(np.abs(matrix).max())
    centred = matrix - matrix.mean(axis=0)
    left = float(np.abs(centred).max())
    if left <= 4 * np.finfo(np.float64).eps * len(matrix) * largest:
        return np.zeros_like(matrix)
    return np.asarray(centred / left)


def cosine_matrix(rows: Array, others: Array | None = None) -> Matrix:
    """Cosines of each of ``rows`` (n, d) with each of ``others`` (m, d; default: ``rows``): (n, m) float64 in [-1, 1].

    A row of zeros has cosine 0 with everything, itself included.
    """
    left = unit_rows(rows)
    right = left if others is None else unit_rows(others)
    return np.asarray(np.clip(left @ right.T, -1.0, 1.0))


def mean_cosine(rows: Array) -> float:
    """Mean cosine over the n (n - 1) / 2 pairs of ``rows`` (n, d), exact, without the n x n matrix.

    Raises:
        ValueError: fewer than two rows.
    """
    units = unit_rows(rows)
    _need_pairs(len(units))
    total = np.sum(units.sum(axis=0) ** 2) - np.sum(units**2)
    return float(np.clip(total / (len(units) * (len(units) - 1)), -1.0, 1.0))


def rsa(a: Array, b: Array) -> Correlation:
    """Representational similarity of ``a`` (n, d) and ``b`` (n, d'), whose rows stand for the same n things.

    Pearson and Spearman correlation between the upper triangles of the two cosine matrices, as the paper compares
    learned rows with codebook vectors (the method: Kriegeskorte et al., Front. Syst. Neurosci. 2:4, 2008).

    Raises:
        ValueError: other numbers of rows, or fewer than three (two pairs always correlate perfectly).
    """
    if len(a) != len(b):
        raise ValueError(f"the two sets must have the same rows in the same order, not {len(a)} and {len(b)}")
    _need_pairs(len(a), 3)
    return Correlation(pearson(a, b), spearman(a, b))


def pearson(a: Array, b: Array) -> float:
    """The Pearson part of `rsa`, exact in O(n d d') time."""
    left, right = PairSums.of(a), PairSums.of(b)
    return left.correlation(right)


def spearman(a: Array, b: Array, *, most_pairs: int = MOST_PAIRS, seed: int = 0) -> float:
    """The Spearman part of `rsa`: exact up to ``most_pairs`` pairs, sampled beyond.

    The sample takes the n things in a random order round a circle and pairs each with the next few, so that every thing
    counts equally often. `spearman_error` says how far it may be off.
    """
    return rank_correlation(*paired_cosines(a, b, most_pairs=most_pairs, seed=seed))


def rank_correlation(left: Matrix, right: Matrix) -> float:
    """Spearman correlation of two vectors of cosines (p,); cosines equal to 1e-12 are ties; NaN where one is flat."""
    ranked = []
    for cosines in (left, right):
        if float(np.std(cosines)) <= FLAT:
            return float("nan")
        rank = average_ranks(np.round(cosines, TIE))
        ranked.append(rank - rank.mean())
    norm = np.sqrt(ranked[0] @ ranked[0]) * np.sqrt(ranked[1] @ ranked[1])
    return float(np.clip(ranked[0] @ ranked[1] / norm, -1.0, 1.0)) if norm > 0 else float("nan")


def paired_cosines(a: Array, b: Array, *, most_pairs: int = MOST_PAIRS, seed: int = 0) -> tuple[Matrix, Matrix]:
    """The cosines among ``a`` (n, d) and among ``b`` (n, d') for the same pairs of rows: two vectors (p,).

    All n (n - 1) / 2 pairs where these are at most ``most_pairs``, else about that many as `spearman` samples them.
    """
    n = len(a)
    if n * (n - 1) // 2 <= most_pairs:
        upper = np.triu_indices(n, 1)
        return cosine_matrix(a)[upper], cosine_matrix(b)[upper]
    reach = max(1, most_pairs // n)  # < n / 2, so no pair comes twice
    order = np.random.default_rng(seed).permutation(n)
    circle = np.concatenate([order, order[:reach]])
    found = []
    for rows in (a, b):
        units = unit_rows(rows)[circle]
        found.append(
            np.concatenate([_band(units[start : start + _BAND + reach], reach) for start in range(0, n, _BAND)])
        )
    return found[0], found[1]


def _band(units: Matrix, reach: int) -> Matrix:
    """Cosines of each of the first len(units) - reach rows with the ``reach`` rows behind it."""
    here = len(units) - reach
    cosines = units[:here] @ units.T
    columns = np.arange(1, reach + 1) + np.arange(here)[:, None]
    return np.asarray(np.clip(np.take_along_axis(cosines, columns, axis=1), -1.0, 1.0).ravel())


def spearman_error(n: int, value: float, *, most_pairs: int = MOST_PAIRS) -> float:
    """Standard error of `spearman` of ``n`` things from sampling pairs; 0 where all pairs are used.

    (1 - rho^2) / sqrt(p) for p pairs, times sqrt(1 + rho^2 / 2), which ranking adds (Bonett & Wright 2000), as for
    pairs drawn independently; every thing being in equally many pairs makes the true error smaller.
    """
    if n * (n - 1) // 2 <= most_pairs:
        return 0.0
    pairs = n * max(1, most_pairs // n)
    return float((1 - value**2) * np.sqrt((1 + value**2 / 2) / pairs))


def average_ranks(values: Matrix) -> Matrix:
    """Ranks of ``values`` (n,) from 1; ties get the mean of the ranks that they share."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    last = np.concatenate((first[1:], [len(values)]))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((first + 1 + last) / 2, last - first)
    return ranks


class PairSums:
    """Sums over pairs of the cosines among rows, less the constant |m|^2; see the text of this module.

    Attributes:
        x: (n, d + 2) float64, [d, a, 1].
        own: (n,) the deviations of each row with itself, which belong to no pair.
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
        """Sum over ordered pairs i != j of P_ij."""
        sums = self.x.sum(axis=0)
        return float(sums[:-2] @ sums[:-2] + 2 * sums[-2] * sums[-1] - self.own.sum())

    def product(self, other: PairSums) -> float:
        """Sum over ordered pairs i != j of P_ij Q_ij."""
        if len(self.x) < min(self.x.shape[1], other.x.shape[1]):
            return float(np.sum(self._pairs() * other._pairs()) - self.own @ other.own)
        cross = self.x.T @ other.x
        return float(np.sum(_swapped(cross) * cross) - self.own @ other.own)

    def _pairs(self) -> Matrix:
        """P itself (n, n), which is the smaller way where there are fewer rows than columns."""
        deviations, along = self.x[:, :-2], self.x[:, -2]
        return np.asarray(deviations @ deviations.T + along + along[:, None])

    def moments(self) -> tuple[float, float]:
        """Mean and variance of P over the pairs."""
        pairs = len(self.x) * (len(self.x) - 1)
        mean = self.total() / pairs
        return mean, max(self.product(self) / pairs - mean**2, 0.0)

    def correlation(self, other: PairSums) -> float:
        """Pearson correlation of P and Q, of the same n things, over the pairs; NaN where one of them is constant."""
        (mean_p, var_p), (mean_q, var_q) = self.moments(), other.moments()
        if var_p**0.5 <= FLAT or var_q**0.5 <= FLAT:
            return float("nan")
        covariance = self.product(other) / (len(self.x) * (len(self.x) - 1)) - mean_p * mean_q
        return float(np.clip(covariance / (var_p**0.5 * var_q**0.5), -1.0, 1.0))


def _swapped(matrix: Matrix) -> Matrix:
    """G M H: the last two rows and the last two columns change places."""
    rows, columns = np.arange(matrix.shape[0]), np.arange(matrix.shape[1])
    rows[-2:], columns[-2:] = rows[-2:][::-1].copy(), columns[-2:][::-1].copy()
    return np.asarray(matrix[np.ix_(rows, columns)])


def _need_pairs(n: int, least: int = 2) -> None:
    if n < least:
        raise ValueError(f"need at least {least} rows, not {n}")
