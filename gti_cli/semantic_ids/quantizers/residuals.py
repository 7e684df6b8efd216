"""Residual codebooks: assign vectors to them level by level, and add them up again. Works block by block.

``vectors`` may be an array in memory or a `VectorFile`: no function here holds more than a block of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from gti_cli.tensors.vector_file import VectorRows

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]

BLOCK = 1 << 14


def blocks(n: int, size: int = BLOCK) -> Iterator[slice]:
    """Slices that cut ``range(n)`` into blocks."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def squared_distances(rows: Vectors, codebook: Vectors) -> Vectors:
    """Squared Euclidean distances less each row's own squared norm: (n, K), float32.

    The norm is the same for all codes of a row, so order and differences are those of the true distances.
    """
    scores = rows @ codebook.T
    scores *= -2.0
    scores += np.einsum("kd,kd->k", codebook, codebook)
    return np.asarray(scores, dtype=np.float32)


def assign(rows: Vectors, codebook: Vectors) -> npt.NDArray[np.int32]:
    """The nearest code of each row: (n,) int32; of codes equally near, the smaller."""
    return np.asarray(squared_distances(rows, codebook).argmin(axis=1), dtype=np.int32)


def encode(vectors: VectorRows, codebooks: Sequence[Vectors], beam: int = 1) -> Codes:
    """Greedy residual codes: in each level the code nearest to what the levels before left over.

    Args:
        vectors: (N, d). codebooks: L arrays (K_l, d).
        beam: keep so many partial codes from level to level and return the best in the end; never worse than greedy.

    Returns:
        (N, L) int32.
    """
    codes = np.empty((len(vectors), len(codebooks)), dtype=np.int32)
    if beam > 1:
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
    """Codes (n, L) of one block. The greedy path is always kept beside the beam, so the result is never worse."""
    n = len(rows)
    paths = np.zeros((n, 1, 0), dtype=np.int32)
    rest = rows[:, None, :]
    item = np.arange(n)[:, None]
    for codebook in codebooks:
        width, size = rest.shape[1], len(codebook)
        scores = squared_distances(rest.reshape(n * width, -1), codebook).reshape(n, width, size)
        scores += np.einsum("nwd,nwd->nw", rest, rest)[:, :, None]
        greedy = scores[:, 0].argmin(axis=1)  # path 0 is the greedy one
        twice = (paths[:, 1:] == paths[:, :1]).all(axis=2).any(axis=1)
        scores[twice, 0] = np.inf  # the greedy path is in the beam as well: its children must not fill it twice
        flat = scores.reshape(n, width * size)
        keep = min(beam, width * size)
        best = np.sort(np.argpartition(flat, keep - 1, axis=1)[:, :keep], axis=1) if keep < width * size else None
        best = np.tile(np.arange(width * size), (n, 1)) if best is None else best
        order = np.argsort(np.take_along_axis(flat, best, axis=1), axis=1, kind="stable")
        chosen = np.hstack([greedy[:, None], np.take_along_axis(best, order, axis=1)])
        parent, code = np.divmod(chosen, size)
        paths = np.concatenate([paths[item, parent], code[:, :, None].astype(np.int32)], axis=2)
        rest = rest[item, parent] - codebook[code]
    error = np.einsum("nwd,nwd->nw", rest, rest)
    return np.asarray(paths[item[:, 0], error.argmin(axis=1)], dtype=np.int32)


def decode(codes: Codes, codebooks: Sequence[Vectors], levels: int | None = None) -> Vectors:
    """Sum of the codes' vectors over the first ``levels`` levels (None: all): (n, d) float32."""
    total = np.zeros((len(codes), codebooks[0].shape[1]), dtype=np.float32)
    for level, codebook in enumerate(codebooks[: len(codebooks) if levels is None else levels]):
        total += codebook[codes[:, level]]
    return total


def mean_codebooks(
    vectors: VectorRows, codes: Codes, sizes: Sequence[int], known: Sequence[Vectors] = ()
) -> list[Vectors]:
    """Codebooks for codes that came without any: each code's vector is the mean residual of its items.

    Level by level, the residual being what the levels before leave over; zeros for a code that no item has.

    Args:
        vectors: (N, d). codes: (N, L). sizes: L numbers of codes. known: codebooks of the first levels, which stay.

    Returns:
        L codebooks (K_l, d).
    """
    codebooks: list[Vectors] = list(known)
    for level, size in enumerate(sizes):
        if level < len(known):
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
