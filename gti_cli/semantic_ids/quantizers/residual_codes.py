"""Residual codebooks: encode vectors level by level, and decode codes by adding up their vectors.

``vectors`` may be an array in memory or a `VectorFile`: every function here reads it block by block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from gti_cli.tensors.vector_file import VectorRows

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]

BLOCK = 1 << 14  # rows


def blocks(n: int, size: int = BLOCK) -> Iterator[slice]:
    """Yield slices that cut ``range(n)`` into blocks of ``size``; the last may be shorter."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def squared_norms(codebook: Vectors) -> Vectors:
    """(K,) squared norms of codes (K, d)."""
    return np.asarray(np.einsum("kd,kd->k", codebook, codebook))


def squared_distances(rows: Vectors, codebook: Vectors, norms: Vectors | None = None) -> Vectors:
    """Squared Euclidean distances of rows to codes, without each row's squared norm.

    The norm is the same for all codes of a row, so order and differences are those of the true distances.

    Args:
        rows: (n, d).
        codebook: (K, d).
        norms: (K,) the result of `squared_norms`, where it is needed often; None: it is computed.

    Returns:
        (n, K) float32.
    """
    scores = rows @ codebook.T
    scores *= -2.0
    scores += squared_norms(codebook) if norms is None else norms
    return np.asarray(scores, dtype=np.float32)


def assign(rows: Vectors, codebook: Vectors) -> npt.NDArray[np.int32]:
    """The nearest code of each row: (n,) int32; of equally near codes, the smallest."""
    return np.asarray(squared_distances(rows, codebook).argmin(axis=1), dtype=np.int32)


def encode(vectors: VectorRows, codebooks: Sequence[Vectors], beam: int = 1) -> Codes:
    """Encode vectors: in each level the code nearest to the residual of the levels before.

    Args:
        vectors: (N, d).
        codebooks: L arrays (K_l, d).
        beam: Width of a beam search, whose result never has a larger error than the greedy one; 1: greedy.

    Returns:
        (N, L) int32.
    """
    codes = np.empty((len(vectors), len(codebooks)), dtype=np.int32)
    if beam > 1:
        # A beam search needs about ``beam`` times the memory per row, so its blocks are smaller.
        for part in blocks(len(vectors), max(1, BLOCK // (4 * beam))):
            codes[part] = _beam_search(np.array(vectors[part], dtype=np.float32), codebooks, beam)
        return codes
    for part in blocks(len(vectors)):
        residual = np.array(vectors[part], dtype=np.float32)
        for level, codebook in enumerate(codebooks):
            codes[part, level] = assign(residual, codebook)
            residual -= codebook[codes[part, level]]
    return codes


def _beam_search(rows: Vectors, codebooks: Sequence[Vectors], beam: int) -> Codes:
    """Encode one block (n, d) with a beam search: (n, L).

    Path 0 of each item is the greedy path, beside the ``beam`` best ones, so the result is never worse than greedy.
    """
    n = len(rows)
    paths = np.zeros((n, 1, 0), dtype=np.int32)  # (n, width, levels so far), width = 1 + size of the beam
    residual = rows[:, None, :]  # (n, width, d), the residual of each path
    item = np.arange(n)[:, None]
    for codebook in codebooks:
        width, size = residual.shape[1], len(codebook)
        scores = squared_distances(residual.reshape(n * width, -1), codebook).reshape(n, width, size)
        # Paths are compared with one another, so here the squared norm of each residual counts.
        scores += np.einsum("nwd,nwd->nw", residual, residual)[:, :, None]
        greedy = scores[:, 0].argmin(axis=1)
        # The greedy path (column 0) often is in the beam as well. Its children would then enter the beam twice, so
        # those of column 0 are ruled out.
        is_in_beam = (paths[:, 1:] == paths[:, :1]).all(axis=2).any(axis=1)
        scores[is_in_beam, 0] = np.inf
        # The best ``keep`` children by ascending score. They are sorted by index first, so that the stable sort by
        # score puts the lower index first among equal scores.
        flat = scores.reshape(n, width * size)
        keep = min(beam, width * size)
        if keep < width * size:
            best = np.sort(np.argpartition(flat, keep - 1, axis=1)[:, :keep], axis=1)
        else:  # fewer children than the beam holds: all of them
            best = np.tile(np.arange(width * size), (n, 1))
        order = np.argsort(np.take_along_axis(flat, best, axis=1), axis=1, kind="stable")
        chosen = np.hstack([greedy[:, None], np.take_along_axis(best, order, axis=1)])
        # Column c of ``flat`` is code c % size after path c // size.
        parent, code = np.divmod(chosen, size)
        paths = np.concatenate([paths[item, parent], code[:, :, None].astype(np.int32)], axis=2)
        residual = residual[item, parent] - codebook[code]
    error = np.einsum("nwd,nwd->nw", residual, residual)
    return np.asarray(paths[item[:, 0], error.argmin(axis=1)], dtype=np.int32)


def decode(codes: Codes, codebooks: Sequence[Vectors], levels: int | None = None) -> Vectors:
    """Decode codes (n, L): the sum of their vectors over the first ``levels`` levels (None: all), (n, d)."""
    total = np.zeros((len(codes), codebooks[0].shape[1]), dtype=np.float32)
    for level, codebook in enumerate(codebooks[: len(codebooks) if levels is None else levels]):
        total += codebook[codes[:, level]]
    return total


def mean_codebooks(
    vectors: VectorRows, codes: Codes, sizes: Sequence[int], fixed: Sequence[Vectors] = ()
) -> list[Vectors]:
    """Make codebooks for given codes: each code's vector is the mean residual of its items.

    Args:
        vectors: (N, d).
        codes: (N, L).
        sizes: The number of codes of each of the L levels.
        fixed: Codebooks of the first levels, which are used as they are.

    Returns:
        L codebooks (K_l, d); zeros for a code that no item has.
    """
    codebooks: list[Vectors] = list(fixed)
    for level, size in enumerate(sizes):
        if level < len(fixed):
            continue
        sums = np.zeros((size, vectors.shape[1]), dtype=np.float64)
        for part in blocks(len(vectors)):
            residual = np.array(vectors[part], dtype=np.float32)
            if level:
                residual -= decode(codes[part], codebooks, level)
            np.add.at(sums, codes[part, level], residual)
        counts = np.bincount(codes[:, level], minlength=size)
        codebooks.append((sums / np.maximum(counts, 1)[:, None]).astype(np.float32))
    return codebooks
