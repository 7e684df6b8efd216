"""Residual k-means: a codebook for the vectors, one for what it leaves over, and so on (faiss does each k-means)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.geometry.threads import one_thread
from gti_cli.semantic_ids.options import KMeansOptions
from gti_cli.semantic_ids.quantizers import balanced, residuals
from gti_cli.tensors.vector_file import VectorRows

Vectors = npt.NDArray[np.float32]

_WARM_STEPS, _WARM_ITERATIONS = 20, 5  # many small steps: better than fewer with more iterations each
_MOST_AXES = 512
_AXES_SAMPLE = 1 << 16  # vectors from which the axes are found


def train(vectors: VectorRows, sizes: Sequence[int], seed: int, options: KMeansOptions | None = None) -> list[Vectors]:
    """Train residual codebooks.

    Args:
        vectors: (N, d), N >= max(sizes). sizes: codes of each level. seed: of sample and starting points.
        options: see `KMeansOptions`.

    Returns:
        L codebooks (K_l, d) float32. Deterministic: faiss sums each centroid in the order of its vectors, whatever the
        number of threads.

    faiss by itself trains on 256 vectors a code without saying so; here the sample is what ``options`` say.
    """
    options = options or KMeansOptions()
    residual = draw_sample(vectors, options.sample, seed)
    codebooks: list[Vectors] = []
    with console.progress("Residual k-means", len(sizes), "levels") as advance:
        for level, size in enumerate(sizes):
            level_seed = (seed * 1009 + level) % 2**31
            if options.balanced:
                codebook = balanced.train_level(residual, size, level_seed, options)
            else:
                codebook = _train_level(residual, size, level_seed, options)
            for part in residuals.blocks(len(residual)):
                residual[part] -= codebook[residuals.assign(residual[part], codebook)]
            codebooks.append(codebook)
            advance(1)
    return codebooks


def _train_level(rows: Vectors, size: int, seed: int, options: KMeansOptions) -> Vectors:
    """One codebook (size, d) by Lloyd's algorithm from a warm start; the best of ``options.restarts`` runs.

    K-means in hundreds of dimensions stops near where it starts, so it starts from the k-means of the first principal
    components, a few at first, then more (Liu et al., "Improved Residual Vector Quantization", arXiv 1509.05195; faiss'
    own residual quantiser is trained so): more evenly used codes, and in most cases a lower error.
    """
    mean, axes = _principal_axes(rows)
    projected = (rows - mean) @ axes
    runs: list[tuple[float, Vectors]] = []
    for restart in range(options.restarts):
        centres: Any = None
        for width in _widths(rows.shape[1]):
            part = np.ascontiguousarray(projected[:, :width])
            centres = _lloyd(part, size, seed + restart, _WARM_ITERATIONS, _widened(centres, width))[1]
        if centres is not None:
            centres = np.float32(centres @ axes[:, : centres.shape[1]].T + mean)
        runs.append(_lloyd(rows, size, seed + restart, options.iterations, centres))
    return min(runs, key=lambda run: run[0])[1]


def _lloyd(rows: Any, size: int, seed: int, iterations: int, start: Any) -> tuple[float, Vectors]:
    """(objective, centres (size, d)) for ``rows`` (N, d), from the centres ``start`` or from random rows."""
    import faiss

    kmeans = faiss.Kmeans(
        rows.shape[1],
        size,
        niter=iterations,
        seed=seed,
        min_points_per_centroid=1,  # no warning: the catalogue has the size it has
        max_points_per_centroid=len(rows),
    )
    kmeans.train(rows, init_centroids=start)
    return float(np.asarray(kmeans.obj)[-1]), np.array(kmeans.centroids, dtype=np.float32).reshape(size, -1)


def _widths(d: int) -> list[int]:
    """How many principal components the steps of the warm start see: growing geometrically, fewer than ``d``."""
    widths = {max(1, round(d ** (step / _WARM_STEPS))) for step in range(1, _WARM_STEPS)}
    return sorted(width for width in widths if width < min(d, _MOST_AXES + 1))


def _widened(centres: Any, width: int) -> Any:
    """Centres (K, narrower) with zeros, the mean, in the components that are new."""
    return None if centres is None else np.pad(centres, ((0, 0), (0, width - centres.shape[1])))


def _principal_axes(rows: Vectors) -> tuple[Vectors, Vectors]:
    """Mean (d,) and the principal axes that `_widths` needs, as columns, the longest first."""
    from scipy.linalg import eigh

    some = rows[:: -(-len(rows) // _AXES_SAMPLE)]
    widths, d = _widths(rows.shape[1]), rows.shape[1]
    with one_thread():  # the same bits whatever the number of cores
        mean = np.asarray(some.mean(axis=0, dtype=np.float64), dtype=np.float32)
        centred = some - mean
        covariance = (centred.T @ centred).astype(np.float64)
        axes = eigh(covariance, subset_by_index=[d - widths[-1], d - 1])[1] if widths else np.empty((d, 0))
    return mean, np.ascontiguousarray(axes[:, ::-1], dtype=np.float32)


def draw_sample(vectors: VectorRows, most: int, seed: int) -> Vectors:
    """A copy of at most ``most`` rows, drawn without replacement and kept in order; all rows where they are so few."""
    if len(vectors) <= most:
        return np.array(vectors[:], dtype=np.float32)
    rows = np.sort(np.random.default_rng(seed).choice(len(vectors), most, replace=False))
    return np.array(vectors[rows], dtype=np.float32)
