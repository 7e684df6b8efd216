"""K-means that uses its codes evenly, so that later levels keep items apart instead of serving outliers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from gti_cli.semantic_ids.options import KMeansOptions
from gti_cli.semantic_ids.quantizers import residuals

Vectors = npt.NDArray[np.float32]

SOFTNESS = 0.1  # of the assignment, as a share of the mean squared distance to the nearest centre
_UPDATES = 4  # of the prices in each iteration
_KEPT = 1 << 27  # distances in memory: half a gigabyte
_BLOCK = 1 << 11  # rows: what is done to a block one step after the other stays in the processor's cache


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
    own = float(np.einsum("nd,nd->", rows, rows, dtype=np.float64))
    for _ in range(iterations):
        distances = _Distances(rows, codebook)
        softness = max(SOFTNESS * (distances.sum_of_nearest() + own) / len(rows), 1e-12)
        for _ in range(_UPDATES):
            mass = _soft_counts(distances, prices, softness)
            prices += (softness * np.log((mass + 1e-3) * size / len(rows))).astype(np.float32)
        sums, counts = np.zeros(codebook.shape, dtype=np.float64), np.zeros(size, dtype=np.int64)
        for part, scores in distances.blocks():
            codes = (scores + prices).argmin(axis=1)
            sums += _sum_by(codes, rows[part], size)
            counts += np.bincount(codes, minlength=size)
        used = counts > 0
        codebook[used] = (sums[used] / counts[used, None]).astype(np.float32)
    return codebook


class _Distances:
    """Squared distances (N, K) less each row's own square, block by block.

    They are wanted several times for one codebook, so they are kept where that takes no more than `_KEPT` numbers.
    """

    def __init__(self, rows: Vectors, codebook: Vectors) -> None:
        self._rows, self._codebook = rows, codebook
        self._kept: list[Vectors] | None = None
        if len(rows) * len(codebook) <= _KEPT:
            self._kept = [self._compute(part) for part in residuals.blocks(len(rows), _BLOCK)]

    def _compute(self, part: slice) -> Vectors:
        return residuals.squared_distances(self._rows[part], self._codebook)

    def blocks(self) -> Iterator[tuple[slice, Vectors]]:
        """Rows, and their distances."""
        for index, part in enumerate(residuals.blocks(len(self._rows), _BLOCK)):
            yield part, self._compute(part) if self._kept is None else self._kept[index]

    def sum_of_nearest(self) -> float:
        """Over all rows, the distance to the nearest code."""
        return float(sum(scores.min(axis=1).sum(dtype=np.float64) for _, scores in self.blocks()))


def _sum_by(codes: npt.NDArray[np.intp], rows: Vectors, size: int) -> npt.NDArray[np.float64]:
    from scipy.sparse import csr_matrix

    ones = np.ones(len(codes))
    members = csr_matrix((ones, (codes, np.arange(len(codes)))), shape=(size, len(codes)))
    return np.asarray(members @ rows.astype(np.float64))


def _soft_counts(distances: _Distances, prices: Vectors, softness: float) -> npt.NDArray[np.float64]:
    """Expected number of rows of each code under the softened assignment: (K,)."""
    mass = np.zeros(len(prices), dtype=np.float64)
    for _, scores in distances.blocks():
        weights = (scores + prices) * np.float32(-1 / softness)
        weights -= weights.max(axis=1, keepdims=True)
        np.exp(weights, out=weights)
        mass += (1 / weights.sum(axis=1)) @ weights
    return mass


def _error(rows: Vectors, codebook: Vectors) -> float:
    """Mean squared distance to the nearest code."""
    total = 0.0
    for part in residuals.blocks(len(rows)):
        own = np.einsum("nd,nd->n", rows[part], rows[part])
        total += float((residuals.squared_distances(rows[part], codebook).min(axis=1) + own).sum(dtype=np.float64))
    return max(total / len(rows), 0.0)
