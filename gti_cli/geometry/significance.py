"""How sure a representational similarity is: permutation test and bootstrap interval over the things compared."""

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
MOST_PERMUTED = 512  # things in the permutation test, which holds their pairs; evenly spread ones are taken beyond
MOST_RESAMPLED = 768  # things in the bootstrap, which holds n x n matrices
_FEW = 64


class Significance(NamedTuple):
    """One-sided p-values of Pearson's r and Spearman's rho, NaN where the correlation is undefined.

    ``permutations``: how many were drawn. ``things``: how many took part.
    """

    pearson: float
    spearman: float
    permutations: int
    things: int


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
    """Is the RSA of ``a`` (n, d) with ``b`` (n, d') higher than that of things matched at random?

    The rows of ``b`` change places (Mantel 1967), within ``groups`` (n,) where given: codes within their level, so that
    a difference between levels alone is no evidence. p = (1 + how many are as high) / (1 + permutations), from the same
    permutations for both correlations. Of more than ``most`` things a part that is evenly spread is tested, which sees
    less than all would: p errs to the large side.
    """
    kept = evenly(len(a), most)
    upper = np.triu_indices(len(kept), 1)
    left, right = (cosine_matrix(rows[kept])[upper] for rows in (a, b))
    if min(float(np.std(left)), float(np.std(right))) <= FLAT:
        return Significance(float("nan"), float("nan"), 0, len(kept))
    # Of few things some orders give the very same correlation, which rounding to single would tell apart.
    kind = np.float64 if len(kept) <= _FEW else np.float32
    fixed, moving = [], []
    for values in ((left, right), (_pair_ranks(left), _pair_ranks(right))):
        centred = [(value - value.mean()).astype(kind) for value in values]
        fixed.append(centred[0])
        square = np.zeros((len(kept), len(kept)), dtype=kind)
        square[upper] = centred[1]
        moving.append(np.ascontiguousarray(square + square.T).ravel())
    still = (upper[0] * len(kept) + upper[1]).astype(np.int32)
    observed = [float(one @ other[still]) for one, other in zip(fixed, moving, strict=True)]
    slack = [1e-12 * float(np.linalg.norm(one)) ** 2 for one in fixed] if kind is np.float64 else [0.0, 0.0]
    rng = np.random.default_rng(seed)
    labels = np.zeros(len(kept), dtype=np.int64) if groups is None else np.asarray(groups)[kept]
    members = [np.flatnonzero(labels == group) for group in np.unique(labels)]
    as_high = [0, 0]
    order = np.empty(len(kept), dtype=np.int32)
    for _ in range(permutations):
        for rows in members:
            order[rows] = rng.permutation(rows)
        pairs = order[upper[0]] * np.int32(len(kept)) + order[upper[1]]
        for at in (0, 1):
            as_high[at] += float(fixed[at] @ moving[at][pairs]) >= observed[at] - slack[at]
    p = [(1 + count) / (1 + permutations) for count in as_high]
    return Significance(p[0], p[1], permutations, len(kept))


def _pair_ranks(cosines: Matrix) -> Matrix:
    """Ranks of cosines (p,); those that agree to 1e-12 are tied."""
    return average_ranks(np.round(cosines, TIE))


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
    out[upper] = _pair_ranks(cosines[upper])
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
        """Weighted mean over the pairs, one for each draw."""
        return np.asarray(np.einsum("ri,ri->r", weights @ matrix, weights) / pairs)

    mean_p, mean_q = mean(left), mean(right)
    spread_p, spread_q = mean(left * left) - mean_p**2, mean(right * right) - mean_q**2
    scale_p, scale_q = np.sqrt(np.maximum(spread_p, 0)), np.sqrt(np.maximum(spread_q, 0))
    valid = (scale_p > FLAT) & (scale_q > FLAT)
    out = np.full(len(weights), np.nan)
    covariance = mean(left * right) - mean_p * mean_q
    out[valid] = np.clip(covariance[valid] / (scale_p[valid] * scale_q[valid]), -1.0, 1.0)
    return out
