"""How sure a representational similarity is: permutation test and bootstrap interval over the things compared."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gti_cli.geometry.sampling import evenly
from gti_cli.geometry.similarity import FLAT, TIE, PairSums, average_ranks, cosine_matrix

Array = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]

PERMUTATIONS = 999
RESAMPLES = 999
MOST_PERMUTED = 4096  # things in the permutation test; evenly spread ones are taken beyond
MOST_RESAMPLED = 1024  # things in the bootstrap, which holds n x n matrices
_WORK = 1e10  # multiply-adds that a permutation test may cost before it does with fewer permutations
_FEWEST = 99
_FEW = 64


class Significance(NamedTuple):
    """``p``: one-sided p-value, NaN where the correlation is undefined. ``permutations``: how many were drawn."""

    p: float
    permutations: int


class Interval(NamedTuple):
    """A 95 % interval of a correlation; NaN where it is undefined."""

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
    """Is the Pearson RSA of ``a`` (n, d) with ``b`` (n, d') higher than that of things matched at random?

    The rows of ``b`` change places (Mantel 1967), within ``groups`` (n,) where given: codes within their level, so that
    a difference between levels alone is no evidence. p = (1 + how many are as high) / (1 + permutations). Many rows of
    great width get fewer permutations (at least 99), which the result says, and of more than ``most`` things a part
    that is evenly spread is tested: p is then larger than it would be, never smaller.
    """
    kept = evenly(len(a), most)
    left, right = PairSums.of(a[kept]), PairSums.of(b[kept])
    moments = (left.moments(), right.moments())
    observed = left.correlation(right, moments=moments)
    if np.isnan(observed):
        return Significance(float("nan"), 0)
    if len(kept) > _FEW:  # of fewer things some orders give the very same correlation, which rounding would tell apart
        left, right = left.single(), right.single()
        observed = left.correlation(right, moments=moments)
    work = len(kept) * left.x.shape[1] * right.x.shape[1]
    count = int(np.clip(_WORK / work, min(_FEWEST, permutations), permutations))
    rng = np.random.default_rng(seed)
    labels = np.zeros(len(kept), dtype=np.int64) if groups is None else np.asarray(groups)[kept]
    members = [np.flatnonzero(labels == group) for group in np.unique(labels)]
    as_high = 0
    for _ in range(count):
        order = np.empty(len(kept), dtype=np.int64)
        for rows in members:
            order[rows] = rng.permutation(rows)
        as_high += left.correlation(right.take(order), moments=moments) >= observed - 1e-12
    return Significance((1 + as_high) / (1 + count), count)


def bootstrap_intervals(
    a: Array, b: Array, *, resamples: int = RESAMPLES, seed: int = 0, most: int = MOST_RESAMPLED
) -> tuple[Interval, Interval]:
    """95 % percentile intervals of Pearson's r and Spearman's rho of the RSA, things resampled with replacement.

    A thing drawn twice makes no pair with itself. Ranks are those among all pairs, not ranked again in each resample.
    Beyond ``most`` things (evenly spread ones are taken) the spread is scaled by sqrt(most / n), as it shrinks.
    """
    n = len(a)
    kept = evenly(n, most)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(kept), np.full(len(kept), 1 / len(kept)), size=resamples).astype(np.float64)
    cosines = cosine_matrix(a[kept]), cosine_matrix(b[kept])
    shrink = float(np.sqrt(len(kept) / n))
    whole = np.ones((1, len(kept)))
    found = []
    for ranked in (False, True):
        sides = [_ranks(matrix) if ranked else matrix for matrix in cosines]
        values = _weighted(sides[0], sides[1], weights)
        middle = float(_weighted(sides[0], sides[1], whole)[0])
        values = values[np.isfinite(values)]
        if not np.isfinite(middle) or values.size < resamples / 2:
            found.append(Interval(float("nan"), float("nan")))
            continue
        low, high = middle + (np.quantile(values, (0.025, 0.975)) - middle) * shrink
        found.append(Interval(float(low), float(high)))
    return found[0], found[1]


def _ranks(cosines: Matrix) -> Matrix:
    """The matrix of ranks (n, n) of the upper triangle, symmetric, zeros on the diagonal."""
    upper = np.triu_indices(len(cosines), 1)
    out = np.zeros_like(cosines)
    out[upper] = average_ranks(np.round(cosines[upper], TIE))
    return np.asarray(out + out.T)


def _weighted(p: Matrix, q: Matrix, weights: Matrix) -> Matrix:
    """Pearson correlation over pairs i != j weighted w_i w_j, for each row of ``weights`` (r, n): (r,)."""
    off = ~np.eye(len(p), dtype=bool)
    centred = []
    for matrix in (p, q):
        moved = np.where(off, matrix - matrix[off].mean(), 0.0)
        centred.append(moved)
    left, right = centred
    pairs = weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)
    pairs = np.where(pairs > 0, pairs, np.nan)

    def mean(matrix: Matrix) -> Matrix:
        return np.asarray(np.einsum("ri,ri->r", weights @ matrix, weights) / pairs)

    mean_p, mean_q = mean(left), mean(right)
    spread_p, spread_q = mean(left * left) - mean_p**2, mean(right * right) - mean_q**2
    scale_p, scale_q = np.sqrt(np.maximum(spread_p, 0)), np.sqrt(np.maximum(spread_q, 0))
    valid = (scale_p > FLAT) & (scale_q > FLAT)
    out = np.full(len(weights), np.nan)
    covariance = mean(left * right) - mean_p * mean_q
    out[valid] = np.clip(covariance[valid] / (scale_p[valid] * scale_q[valid]), -1.0, 1.0)
    return out
