"""How much of one set of rows is left in another of the same things: what training kept of where the rows began."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.geometry.similarity import centred_rows, unit_rows

Array = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]


def cka(a: Array, b: Array) -> float:
    """Linear CKA of ``a`` (n, d) and ``b`` (n, d'), debiased: 1 for the same set, about 0 for unrelated ones.

    The same whatever the rotation, scale or shift of either set, so that no alignment is needed first (Kornblith et
    al., ICML 2019). Plain CKA of unrelated sets nears 1 where rows are wider than many; the unbiased estimate of HSIC
    (Song et al., JMLR 13, 2012) in its place does not, and can fall a little below 0. O(n d d'), no n x n matrix unless
    n is smaller than d. NaN where a set is one point.

    Raises:
        ValueError: other numbers of rows, fewer than four, NaN or infinity.
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
    """Mean cosine of each row of ``a`` (n, d) with the same row of ``b`` (n, d), each less its set's mean row.

    No rotation is allowed for: it asks whether rows still point where they did. NaN where a set is one point.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(f"the two sets must have one shape, not {np.shape(a)} and {np.shape(b)}")
    x, y = centred_rows(a), centred_rows(b)
    if not x.any() or not y.any():
        return float("nan")
    return float(np.mean(np.einsum("ij,ij->i", unit_rows(x), unit_rows(y))))


def moved(a: Array, b: Array) -> float:
    """How far rows went from ``a`` to ``b`` (both (n, d)): root mean square distance over that norm of ``a``'s rows."""
    before = float(np.linalg.norm(np.asarray(a, dtype=np.float64)))
    distance = float(np.linalg.norm(np.asarray(b, dtype=np.float64) - a))
    return distance / before if before > 0 else float("nan")


def _hsic(x: Matrix, y: Matrix) -> float:
    """Unbiased HSIC of two centred sets with linear kernels K = x x', L = y y', from sums over their entries."""
    n = len(x)
    k, l_ = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y)  # the diagonals, which do not count
    many = n >= min(x.shape[1], y.shape[1])
    product = float(np.sum((x.T @ y) ** 2) if many else np.sum((x @ x.T) * (y @ y.T))) - float(k @ l_)
    row_k, row_l = x @ x.sum(axis=0) - k, y @ y.sum(axis=0) - l_
    value = product + row_k.sum() * row_l.sum() / ((n - 1) * (n - 2)) - 2 * float(row_k @ row_l) / (n - 2)
    return float(value / (n * (n - 3)))
