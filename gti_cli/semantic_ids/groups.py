"""Which items share a tuple of codes, and which share an embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.tensors.vector_file import VectorRows

Codes = npt.NDArray[np.int32]
Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

_BLOCK = 1 << 13


def tuple_labels(codes: npt.NDArray[np.integer[Any]]) -> Labels:
    """Number the distinct rows of ``codes`` (N, L): (N,) int64, in lexicographic order, from 0.

    Works level by level, so that no product of codebook sizes has to fit in an integer; L = 0 gives all zeros.
    """
    labels = np.zeros(len(codes), dtype=np.int64)
    for level in range(codes.shape[1]):
        column = codes[:, level].astype(np.int64)
        labels = np.unique(labels * (int(column.max(initial=0)) + 1) + column, return_inverse=True)[1].reshape(-1)
    return labels


def first_alike(vectors: VectorRows) -> Labels:
    """For each row of ``vectors`` (N, d), the index of the first row with the same numbers: (N,) int64.

    Rows are told apart by a 64-bit hash and rows of equal hash are compared, so the answer is exact; -0.0 equals 0.0.
    """
    n, width = vectors.shape
    odd = np.random.default_rng(0x5EED).integers(0, 2**63, size=width, dtype=np.uint64) * 2 + 1
    hashes = np.empty(n, dtype=np.uint64)
    for start in range(0, n, _BLOCK):
        block = np.ascontiguousarray(vectors[start : start + _BLOCK], dtype=np.float32) + np.float32(0.0)
        bits = block.view(np.uint32).astype(np.uint64)
        bits ^= bits >> np.uint64(15)
        bits *= odd
        bits ^= bits >> np.uint64(29)
        hashes[start : start + _BLOCK] = bits.sum(axis=1, dtype=np.uint64)
    order = np.argsort(hashes, kind="stable")
    first = np.arange(n, dtype=np.int64)
    ends = np.flatnonzero(np.diff(hashes[order])) + 1
    for group in np.split(order, ends):
        if len(group) > 1:
            _compare(vectors, group, first)
    return first


def _compare(vectors: VectorRows, group: npt.NDArray[np.intp], first: Labels) -> None:
    """Fill ``first`` for rows of one hash (ascending): compare with the leader, then the rest."""
    while len(group) > 1:
        same = (np.asarray(vectors[group]) == np.asarray(vectors[group[0]])).all(axis=1)
        first[group[same]] = group[0]
        group = group[~same]


def members(labels: Labels) -> list[npt.NDArray[np.intp]]:
    """Rows of each label, ascending within a label; labels are 0 … G-1."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
