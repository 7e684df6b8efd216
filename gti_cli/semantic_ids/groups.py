"""Group items by equal rows: items with the same tuple of codes, and items with the same embedding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.tensors.vector_file import VectorRows

Codes = npt.NDArray[np.int32]
Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

_BLOCK = 1 << 13  # rows that are hashed at a time


def tuple_labels(codes: npt.NDArray[np.integer[Any]]) -> Labels:
    """Number the distinct rows of ``codes`` in lexicographic order, from 0.

    The same numbers as ``np.unique(codes, axis=0, return_inverse=True)``, but faster.

    Args:
        codes: (N, L), none negative; L may be 0, which gives all zeros.

    Returns:
        (N,) the number of each row.
    """
    keys, numbers = np.zeros(len(codes), dtype=np.int64), 1  # every key is below ``numbers``
    for level in range(codes.shape[1]):
        column = codes[:, level]
        size = int(column.max(initial=0)) + 1
        if numbers * size >= 2**63:
            # Renumbered to 0 … N - 1, keys times a size cannot overflow, whatever the product of all codebook sizes.
            _number(keys)
            numbers = len(keys) + 1
        keys *= size
        keys += column
        numbers *= size
    _number(keys)
    return keys


def _number(keys: Labels) -> None:
    """Put in place of each key its number among the different ones, in half of the memory of ``np.unique``."""
    order = np.argsort(keys)
    numbers = keys[order]
    is_new = numbers[1:] != numbers[:-1]
    numbers[:1] = 0
    np.cumsum(is_new, out=numbers[1:])
    keys[order] = numbers


def first_equal_rows(vectors: VectorRows) -> Labels:
    """For each row of ``vectors``, the index of the first row with the same numbers.

    Rows are grouped by a 64-bit hash and compared within a group, so the answer is exact. -0.0 equals 0.0.

    Args:
        vectors: (N, d), read block by block.

    Returns:
        (N,) row numbers; a row without an earlier equal one has its own.
    """
    n, width = vectors.shape
    # One random odd multiplier per column makes the hash depend on the order of the numbers. The seed is fixed, because
    # only the speed depends on the hash, not the result.
    multipliers = np.random.default_rng(0x5EED).integers(0, 2**63, size=width, dtype=np.uint64) * 2 + 1
    hashes = np.empty(n, dtype=np.uint64)
    for start in range(0, n, _BLOCK):
        # Adding 0.0 turns -0.0 into 0.0, so that equal numbers have equal bits.
        block = np.ascontiguousarray(vectors[start : start + _BLOCK], dtype=np.float32) + np.float32(0.0)
        bits = block.view(np.uint32).astype(np.uint64)
        bits ^= bits >> np.uint64(15)
        bits *= multipliers
        bits ^= bits >> np.uint64(29)
        hashes[start : start + _BLOCK] = bits.sum(axis=1, dtype=np.uint64)
    # A stable sort: within a group of one hash, rows ascend.
    order = np.argsort(hashes, kind="stable")
    first = np.arange(n, dtype=np.int64)
    for group in _runs(hashes[order], least=2):
        _compare(vectors, order[group], first)
    return first


def _runs(values: npt.NDArray[Any], least: int) -> Iterator[slice]:
    """The places of each run of equal values that is at least so long; shorter runs cost no Python object."""
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    lengths = np.diff(starts, append=len(values))
    is_long = lengths >= least
    for start, length in zip(starts[is_long].tolist(), lengths[is_long].tolist(), strict=True):
        yield slice(start, start + length)


def _compare(vectors: VectorRows, group: npt.NDArray[np.intp], first: Labels) -> None:
    """Fill ``first`` for the rows of one hash (ascending), which may hold several different vectors."""
    while len(group) > 1:
        same = (np.asarray(vectors[group]) == np.asarray(vectors[group[0]])).all(axis=1)
        first[group[same]] = group[0]
        group = group[~same]


def members(labels: Labels) -> list[npt.NDArray[np.intp]]:
    """The rows of each label 0 … G-1, ascending within a label."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
