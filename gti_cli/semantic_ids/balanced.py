"""K-means that uses its codes evenly, so that later levels keep items apart instead of serving outliers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gti_cli.semantic_ids import residuals
from gti_cli.semantic_ids.options import KMeansOptions

Vectors = npt.NDArray[np.float32]

SOFTNESS = 0.1  # of the assignment, as a share of the mean squared distance to the nearest centre
_UPDATES = 4  # of the prices in each iteration


def train_level(rows: Vectors, size: int, seed: int, options: KMeansOptions) -> Vectors:
    """Train one codebook (size, d) on ``rows`` (N, d).

    Lloyd's algorithm in which each code has a price that is added to its squared distances and rises with its use: the
    dual variables of an entropic transport plan with equal masses (Sinkhorn-Knopp; Cuturi, NeurIPS 2013), a few updates
    an iteration. The prices are for training only: codes are assigned by the nearest vector, as everywhere, so use is
    nearly even, not exactly, and codes still reproduce from codebooks. The best of ``options.restarts`` runs by error.
    """
    runs = [_run(rows, size, seed + restart, options.iterations) for restart in range(options.restarts)]
    best: Vectors = min(runs, key=lambda codebook: _error(rows, codebook))
    return best


def _run(rows: Vectors, size: int, seed: int, iterations: int) -> Vectors:
    codebook: Vectors = rows[np.random.default_rng(seed).choice(len(rows), size, replace=False)].copy()
    prices: Vectors = np.zeros(size, dtype=np.float32)
    for _ in range(iterations):
        softness = max(SOFTNESS * _error(rows, codebook), 1e-12)
        for _ in range(_UPDATES):
            mass = _soft_counts(rows, codebook, prices, softness)
            prices += (softness * np.log((mass + 1e-3) * size / len(rows))).astype(np.float32)
        sums, counts = np.zeros(codebook.shape, dtype=np.float64), np.zeros(size, dtype=np.int64)
        for part in residuals.blocks(len(rows)):
            codes = (residuals.squared_distances(rows[part], codebook) + prices).argmin(axis=1)
            sums += _sum_by(codes, rows[part], size)
            counts += np.bincount(codes, minlength=size)
        used = counts > 0
        codebook[used] = (sums[used] / counts[used, None]).astype(np.float32)
    return codebook


def _sum_by(codes: npt.NDArray[np.intp], rows: Vectors, size: int) -> npt.NDArray[np.float64]:
    from scipy.sparse import csr_matrix

    ones = np.ones(len(codes))
    members = csr_matrix((ones, (codes, np.arange(len(codes)))), shape=(size, len(codes)))
    return np.asarray(members @ rows.astype(np.float64))


def _soft_counts(rows: Vectors, codebook: Vectors, prices: Vectors, softness: float) -> npt.NDArray[np.float64]:
    """Expected number of rows of each code under the softened assignment: (K,)."""
    mass = np.zeros(len(codebook), dtype=np.float64)
    for part in residuals.blocks(len(rows)):
        scores = residuals.squared_distances(rows[part], codebook) + prices
        scores -= scores.min(axis=1, keepdims=True)
        weights = np.exp(scores / -softness)
        weights /= weights.sum(axis=1, keepdims=True)
        mass += weights.sum(axis=0, dtype=np.float64)
    return mass


def _error(rows: Vectors, codebook: Vectors) -> float:
    """Mean squared distance to the nearest code."""
    total = 0.0
    for part in residuals.blocks(len(rows)):
        own = np.einsum("nd,nd->n", rows[part], rows[part])
        total += float((residuals.squared_distances(rows[part], codebook).min(axis=1) + own).sum(dtype=np.float64))
    return max(total / len(rows), 0.0)
