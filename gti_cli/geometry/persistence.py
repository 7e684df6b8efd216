"""Comparison of rows before and after a training: how much of their arrangement is left, and how far they moved."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.geometry.similarity import centred_rows, unit_rows

Array = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]


def cka(a: Array, b: Array) -> float:
    """Debiased linear CKA of two sets of rows: 1 for the same arrangement, about 0 for unrelated ones.

    Rotation, scale and shift of either set change nothing, so the sets need not be aligned first (Kornblith et al.,
    ICML 2019). Plain CKA of unrelated sets approaches 1 where rows have more entries than there are rows. The unbiased
    estimator of HSIC (Song et al., JMLR 13, 2012) avoids that, and lets the value fall slightly below 0. The time is
    O(n d d'). An n x n matrix is built only where n is smaller than d and d'.

    Args:
        a: (n, d).
        b: (n, d'). Row i stands for the same thing as row i of ``a``.

    Returns:
        The value, at most 1. NaN where all rows of a set are equal.

    Raises:
        ValueError: When the numbers of rows differ, when there are fewer than four, or at NaN or infinity.
    """
    x, y = centred_rows(a), centred_rows(b)
    if len(x) != len(y):
        raise ValueError(f"the two sets must have the same rows in the same order, not {len(x)} and {len(y)}")
    if len(x) < 4:
        raise ValueError(f"need at least 4 rows, not {len(x)}")
    if not x.any() or not y.any():
        return float("nan")
    own = _hsic(x, x), _hsic(y, y)
    if min(own) <= 0:
        return float("nan")
    return float(min(_hsic(x, y) / np.sqrt(own[0] * own[1]), 1.0))


def row_cosine(a: Array, b: Array) -> float:
    """Mean cosine of each row of ``a`` (n, d) with the same row of ``b`` (n, d), both mean rows subtracted.

    It tells whether rows still point in the same direction; unlike `cka` it changes with a rotation of one set. NaN
    where all rows of a set are equal.

    Raises:
        ValueError: When the shapes differ.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(f"the two sets must have one shape, not {np.shape(a)} and {np.shape(b)}")
    x, y = centred_rows(a), centred_rows(b)
    if not x.any() or not y.any():
        return float("nan")
    return float(np.mean(np.einsum("ij,ij->i", unit_rows(x), unit_rows(y))))


def moved(a: Array, b: Array) -> float:
    """Root mean square distance of rows from ``a`` (n, d) to ``b`` (n, d), over the same norm of the rows of ``a``."""
    before = float(np.linalg.norm(np.asarray(a, dtype=np.float64)))
    distance = float(np.linalg.norm(np.asarray(b, dtype=np.float64) - a))
    return distance / before if before > 0 else float("nan")


def _hsic(x: Matrix, y: Matrix) -> float:
    """Unbiased HSIC of two centred sets with linear kernels K = x x' and L = y y' (Song et al., 2012).

    The estimator sets the diagonals of K and L to zero. Here they are subtracted from sums over all entries.
    """
    n = len(x)
    diagonal_k, diagonal_l = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y)
    # trace(K L): from the (d, d') matrix, or from the kernels where n is smaller.
    many_rows = n >= min(x.shape[1], y.shape[1])
    trace = float(np.sum((x.T @ y) ** 2) if many_rows else np.sum((x @ x.T) * (y @ y.T)))
    trace -= float(diagonal_k @ diagonal_l)
    # Sums of each row of K and of L.
    sums_k, sums_l = x @ x.sum(axis=0) - diagonal_k, y @ y.sum(axis=0) - diagonal_l
    value = trace + sums_k.sum() * sums_l.sum() / ((n - 1) * (n - 2)) - 2 * float(sums_k @ sums_l) / (n - 2)
    return float(value / (n * (n - 3)))
