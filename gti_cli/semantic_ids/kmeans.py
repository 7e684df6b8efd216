"""Residual k-means: a codebook for the vectors, one for what it leaves over, and so on (faiss does each k-means)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.semantic_ids import balanced, residuals
from gti_cli.semantic_ids.options import KMeansOptions
from gti_cli.semantic_ids.vector_file import Rows

Vectors = npt.NDArray[np.float32]


def train(vectors: Rows, sizes: Sequence[int], seed: int, options: KMeansOptions | None = None) -> list[Vectors]:
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
    import faiss

    kmeans = faiss.Kmeans(
        rows.shape[1],
        size,
        niter=options.iterations,
        nredo=options.restarts,
        seed=seed,
        min_points_per_centroid=1,  # no warning: the catalogue has the size it has
        max_points_per_centroid=len(rows),
    )
    kmeans.train(rows)
    return np.array(kmeans.centroids, dtype=np.float32).reshape(size, -1)


def draw_sample(vectors: Rows, most: int, seed: int) -> Vectors:
    """A copy of at most ``most`` rows, drawn without replacement and kept in order; all rows where they are so few."""
    if len(vectors) <= most:
        return np.array(vectors[:], dtype=np.float32)
    rows = np.sort(np.random.default_rng(seed).choice(len(vectors), most, replace=False))
    return np.array(vectors[rows], dtype=np.float32)
