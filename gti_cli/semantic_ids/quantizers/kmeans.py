"""Residual k-means: a codebook for the vectors, one for their residuals, and so on; faiss does each k-means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.geometry.threads import one_thread
from gti_cli.semantic_ids.options import KMeansOptions
from gti_cli.semantic_ids.quantizers import balanced_kmeans, residual_codes
from gti_cli.tensors.vector_file import VectorRows

Vectors = npt.NDArray[np.float32]

# The warm start: many steps of few iterations give a lower error than few steps of many.
_WARM_STEPS, _WARM_ITERATIONS = 20, 5
_WARM_WHOLE = 100_000  # Rows up to which the warm start uses all of them.
_WARM_ROWS, _WARM_ROWS_OF_A_CODE = 1 << 16, 256  # The most that it uses of more rows.
_MOST_AXES = 512
_AXES_SAMPLE = 1 << 16  # vectors from which the principal axes are computed


def train(vectors: VectorRows, sizes: Sequence[int], seed: int, options: KMeansOptions | None = None) -> list[Vectors]:
    """Train residual codebooks.

    Deterministic: faiss sums each centroid in the order of its vectors, on any number of threads.

    Args:
        vectors: (N, d), N >= max(sizes).
        sizes: The number of codes of each level.
        seed: Seed of the sample and of the starting points.
        options: See `KMeansOptions`.

    Returns:
        L codebooks (K_l, d) float32.
    """
    options = options or KMeansOptions()
    residual = draw_sample(vectors, options.sample, seed)
    codebooks: list[Vectors] = []
    with console.progress("Residual k-means", len(sizes), "levels") as advance:
        for level, size in enumerate(sizes):
            level_seed = (seed * 1009 + level) % 2**31
            if options.balanced:
                codebook = balanced_kmeans.train_level(residual, size, level_seed, options)
            else:
                codebook = _train_level(residual, size, level_seed, options)
            for part in residual_codes.blocks(len(residual)):
                residual[part] -= codebook[residual_codes.assign(residual[part], codebook)]
            codebooks.append(codebook)
            advance(1)
    return codebooks


def _train_level(rows: Vectors, size: int, seed: int, options: KMeansOptions) -> Vectors:
    """Train one codebook (size, d) by Lloyd's algorithm from a warm start; the best of ``options.restarts`` runs.

    K-means in hundreds of dimensions stops near its starting point. So it first runs in the space of the first few
    principal components, then in more and more of them, each time from the centroids before (Liu et al., "Improved
    Residual Vector Quantization", arXiv 1509.05195; faiss trains its own residual quantizer in this way). Codes are
    used more evenly, and in most cases the error is lower. Of many rows, the warm start sees a part: it gives no more
    than a starting point.
    """
    mean, axes = _principal_axes(rows)
    projected = (_warm_rows(rows, size) - mean) @ axes
    runs: list[tuple[float, Vectors]] = []
    for restart in range(options.restarts):
        centroids: Any = None
        for width in _widths(rows.shape[1]):
            part = np.ascontiguousarray(projected[:, :width])
            centroids = _lloyd(part, size, seed + restart, _WARM_ITERATIONS, _widened(centroids, width))[1]
        if centroids is not None:  # From the principal components back to the space of the rows.
            centroids = np.float32(centroids @ axes[:, : centroids.shape[1]].T + mean)
        runs.append(_lloyd(rows, size, seed + restart, options.iterations, centroids))
    return min(runs, key=lambda run: run[0])[1]


def _warm_rows(rows: Vectors, size: int) -> Vectors:
    """The rows of the warm start for a codebook of ``size`` codes: all, or every n-th of more than `_WARM_WHOLE`."""
    if len(rows) <= _WARM_WHOLE:
        return rows
    return rows[:: -(-len(rows) // max(_WARM_ROWS, _WARM_ROWS_OF_A_CODE * size))]


def _lloyd(rows: Any, size: int, seed: int, iterations: int, start: Any) -> tuple[float, Vectors]:
    """Run k-means on ``rows`` (N, d) from ``start``, or from random rows: objective and centroids (size, d)."""
    import faiss

    kmeans = faiss.Kmeans(
        rows.shape[1],
        size,
        niter=iterations,
        seed=seed,
        min_points_per_centroid=1,  # No warning for a small catalogue.
        max_points_per_centroid=len(rows),  # By default faiss samples 256 rows per code; here all rows are used.
    )
    kmeans.train(rows, init_centroids=start)
    return float(np.asarray(kmeans.obj)[-1]), np.array(kmeans.centroids, dtype=np.float32).reshape(size, -1)


def _widths(d: int) -> list[int]:
    """The numbers of principal components in the steps of the warm start: growing geometrically, all below ``d``."""
    widths = {max(1, round(d ** (step / _WARM_STEPS))) for step in range(1, _WARM_STEPS)}
    return sorted(width for width in widths if width < min(d, _MOST_AXES + 1))


def _widened(centroids: Any, width: int) -> Any:
    """Centroids with more components; the new ones are zero, which is the mean of the projected rows."""
    return None if centroids is None else np.pad(centroids, ((0, 0), (0, width - centroids.shape[1])))


def _principal_axes(rows: Vectors) -> tuple[Vectors, Vectors]:
    """Mean (d,) and as many principal axes as the warm start needs, as columns, the largest variance first."""
    from scipy.linalg import eigh

    sample = rows[:: -(-len(rows) // _AXES_SAMPLE)]  # Every n-th row, at most so many.
    widths, d = _widths(rows.shape[1]), rows.shape[1]
    with one_thread():  # The same bits on any number of cores.
        mean = np.asarray(sample.mean(axis=0, dtype=np.float64), dtype=np.float32)
        centred = sample - mean
        covariance = (centred.T @ centred).astype(np.float64)
        axes = eigh(covariance, subset_by_index=[d - widths[-1], d - 1])[1] if widths else np.empty((d, 0))
    return mean, np.ascontiguousarray(axes[:, ::-1], dtype=np.float32)  # eigh sorts by ascending eigenvalue.


def draw_sample(vectors: VectorRows, most: int, seed: int) -> Vectors:
    """A copy of at most ``most`` rows (n, d), drawn without replacement, in their original order."""
    if len(vectors) <= most:
        return np.array(vectors[:], dtype=np.float32)
    rows = np.sort(np.random.default_rng(seed).choice(len(vectors), most, replace=False))
    return np.array(vectors[rows], dtype=np.float32)
