"""K-means that uses its codes evenly, so that later levels keep items apart instead of serving outliers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from gti_cli.semantic_ids.options import KMeansOptions
from gti_cli.semantic_ids.quantizers import residual_codes

Vectors = npt.NDArray[np.float32]

SOFTNESS = 0.1  # Temperature of the soft assignment, as a share of the mean squared distance to the nearest centroid.
_PRICE_UPDATES = 4  # in each iteration
_MOST_CACHED = 1 << 27  # distances held in memory: half a gigabyte
_BLOCK = 1 << 11  # Rows. Several steps work on a block in turn, so it should stay in the processor's cache.


def train_level(rows: Vectors, size: int, seed: int, options: KMeansOptions) -> Vectors:
    """Train one codebook with evenly used codes.

    Lloyd's algorithm in which each code has a price. The price is added to the squared distances to the code and rises
    with its use. Prices are the dual variables of an entropic transport plan with equal masses (Sinkhorn-Knopp; Cuturi,
    NeurIPS 2013), of which each iteration does a few updates. They serve training only: items are encoded by the
    nearest code without prices, so use is nearly, not exactly, even.

    Args:
        rows: (N, d), N >= size.
        size: The number of codes K.
        seed: Seed of the starting rows.
        options: Iterations, and restarts, of which the one with the lowest error is used.

    Returns:
        (K, d) float32.
    """
    runs = [_run(rows, size, seed + restart, options.iterations) for restart in range(options.restarts)]
    best: Vectors = min(runs, key=lambda codebook: _error(rows, codebook))
    return best


def _run(rows: Vectors, size: int, seed: int, iterations: int) -> Vectors:
    codebook: Vectors = rows[np.random.default_rng(seed).choice(len(rows), size, replace=False)].copy()
    prices: Vectors = np.zeros(size, dtype=np.float32)
    squared_norms = float(np.einsum("nd,nd->", rows, rows, dtype=np.float64))
    for _ in range(iterations):
        distances = _Distances(rows, codebook)
        # `_Distances` leaves out each row's squared norm, so it is added back here for a true mean distance.
        softness = max(SOFTNESS * (distances.sum_of_nearest() + squared_norms) / len(rows), 1e-12)
        for _ in range(_PRICE_UPDATES):
            # A code with more than its share of the rows becomes more expensive, one with less becomes cheaper.
            # 1e-3 keeps the logarithm finite for a code without rows.
            mass = _soft_counts(distances, prices, softness)
            prices += (softness * np.log((mass + 1e-3) * size / len(rows))).astype(np.float32)
        # Lloyd's step with the prices: assign each row to its cheapest code, then move each code to the mean.
        sums, counts = np.zeros(codebook.shape, dtype=np.float64), np.zeros(size, dtype=np.int64)
        for part, scores in distances.blocks():
            codes = (scores + prices).argmin(axis=1)
            sums += _sum_by(codes, rows[part], size)
            counts += np.bincount(codes, minlength=size)
        used = counts > 0  # An unused code keeps its vector; its price falls until it is used.
        codebook[used] = (sums[used] / counts[used, None]).astype(np.float32)
    return codebook


class _Distances:
    """Squared distances (N, K) without each row's own squared norm, block by block.

    One codebook needs them several times, so they are cached unless they are more than `_MOST_CACHED` numbers.
    """

    def __init__(self, rows: Vectors, codebook: Vectors) -> None:
        self._rows, self._codebook = rows, codebook
        self._cache: list[Vectors] | None = None
        if len(rows) * len(codebook) <= _MOST_CACHED:
            self._cache = [self._compute(part) for part in residual_codes.blocks(len(rows), _BLOCK)]

    def _compute(self, part: slice) -> Vectors:
        return residual_codes.squared_distances(self._rows[part], self._codebook)

    def blocks(self) -> Iterator[tuple[slice, Vectors]]:
        """Yield the rows of each block, as a slice, and their distances (n, K)."""
        for index, part in enumerate(residual_codes.blocks(len(self._rows), _BLOCK)):
            yield part, self._compute(part) if self._cache is None else self._cache[index]

    def sum_of_nearest(self) -> float:
        """The sum over all rows of the distance to the nearest code."""
        return float(sum(scores.min(axis=1).sum(dtype=np.float64) for _, scores in self.blocks()))


def _sum_by(codes: npt.NDArray[np.intp], rows: Vectors, size: int) -> npt.NDArray[np.float64]:
    """The sum of the rows (n, d) of each code: (size, d), as one product with a sparse 0/1 matrix."""
    from scipy.sparse import csr_matrix

    ones = np.ones(len(codes))
    members = csr_matrix((ones, (codes, np.arange(len(codes)))), shape=(size, len(codes)))
    return np.asarray(members @ rows.astype(np.float64))


def _soft_counts(distances: _Distances, prices: Vectors, softness: float) -> npt.NDArray[np.float64]:
    """The expected number of rows of each code (K,), where softmax(-(distance + price) / softness) assigns the rows."""
    mass = np.zeros(len(prices), dtype=np.float64)
    for _, scores in distances.blocks():
        weights = (scores + prices) * np.float32(-1 / softness)
        weights -= weights.max(axis=1, keepdims=True)  # So that exp cannot overflow.
        np.exp(weights, out=weights)
        mass += (1 / weights.sum(axis=1)) @ weights  # Normalise each row and sum the columns, in one product.
    return mass


def _error(rows: Vectors, codebook: Vectors) -> float:
    """Mean squared distance to the nearest code."""
    total = 0.0
    for part in residual_codes.blocks(len(rows)):
        squared_norms = np.einsum("nd,nd->n", rows[part], rows[part])
        nearest = residual_codes.squared_distances(rows[part], codebook).min(axis=1)
        total += float((nearest + squared_norms).sum(dtype=np.float64))
    return max(total / len(rows), 0.0)
