"""Spectrum of a set of rows: singular values, and measures of how many directions the rows use.

The paper (arXiv 2604.02324) uses the singular values of the new rows as they are, so "effective rank" without further
words is that of the raw rows. It shows collapse: rows that are one point plus a little noise have raw rank 1. Rows
with a large mean have one dominating direction. With ``centred=True`` the mean row is subtracted first, and the
measures tell in how many directions the rows differ.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.geometry.threads import one_thread

Array = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]

_GRAM_LIMIT = 1e-4  # a Gram matrix gives singular values down to this share of the largest with 8 correct digits


def singular_values(rows: Array, *, centred: bool = False) -> Vector:
    """Singular values of a set of rows, computed in float64.

    Args:
        rows: (n, d).
        centred: Subtract the mean row first. What is left of equal rows is rounding error, which has a full spectrum of
            its own. So values up to max(n, d) * eps of the Frobenius norm of ``rows`` are set to zero.

    Returns:
        (min(n, d),) float64, the largest first.

    Raises:
        ValueError: When ``rows`` is not a matrix, is empty, or holds NaN or infinity.
    """
    matrix = _matrix(rows)
    if not centred:
        return np.asarray(np.linalg.svd(matrix, compute_uv=False), dtype=np.float64)
    scale = float(np.linalg.norm(matrix))
    values = np.asarray(np.linalg.svd(matrix - matrix.mean(axis=0), compute_uv=False), dtype=np.float64)
    values[values <= max(matrix.shape) * np.finfo(np.float64).eps * scale] = 0.0
    return values


def both_spectra(rows: Array) -> tuple[Vector, Vector]:
    """Singular values of raw and of centred rows, much faster than `singular_values` and equal to 1e-8 of each value.

    A Householder reflection from the left that maps the vector of ones to a multiple of the first axis changes no
    singular value. It moves the mean row into the first row. The other n - 1 rows then have the singular values of the
    centred set, without the zero that centring adds, so that a Gram matrix gives them exactly.

    Args:
        rows: (n, d).

    Returns:
        Two vectors (min(n, d),), of the raw and of the centred rows.
    """
    matrix = _matrix(rows)
    count, size = len(matrix), min(matrix.shape)
    values = [_values_of(matrix)]
    if count > 1:
        root = math.sqrt(count)
        shared = (root * matrix.mean(axis=0) - matrix[0]) / (root - 1)
        values.append(_values_of(matrix[1:] - shared))
        noise = max(matrix.shape) * np.finfo(np.float64).eps * float(np.linalg.norm(matrix))
        values[1][values[1] <= noise] = 0.0
    padded = np.zeros((2, size))
    for line, spectrum in zip(padded, values, strict=False):
        line[: min(size, len(spectrum))] = spectrum[:size]
    return padded[0], padded[1]


def _values_of(matrix: npt.NDArray[np.float64]) -> Vector:
    """Singular values from the small Gram matrix, or from a QR decomposition where the Gram matrix is not exact enough.

    The Gram matrix gives a value s with a relative error of eps (s_1 / s)^2, which is at most 1e-8 down to
    `_GRAM_LIMIT` of the largest value s_1. Rows that have collapsed have smaller values.
    """
    scale = float(np.abs(matrix).max())
    if scale == 0:
        return np.zeros(min(matrix.shape))
    # After division by the largest entry, squares neither overflow nor vanish.
    tall = (matrix if len(matrix) >= matrix.shape[1] else matrix.T) / scale
    gram = tall.T @ tall
    with one_thread():
        squares = np.linalg.eigvalsh(gram)
        if squares[0] > _GRAM_LIMIT**2 * squares[-1]:
            return np.asarray(scale * np.sqrt(squares[::-1]))
        return np.asarray(scale * np.linalg.svd(np.linalg.qr(tall, mode="r"), compute_uv=False))


def effective_rank(rows_or_values: Array, *, centred: bool = False) -> float:
    """Effective rank: exp(H(p)) with p = s / sum(s) of the singular values s and H the entropy in nats.

    It is 1 for a matrix of rank one, min(n, d) where all singular values are equal, and 0 for zeros (Roy & Vetterli,
    "The effective rank: a measure of effective dimensionality", EUSIPCO 2007).

    Args:
        rows_or_values: Rows (n, d), or their singular values (k,).
        centred: Subtract the mean row first, as in `singular_values`. Only for rows.
    """
    values = _values(rows_or_values, centred)
    total = values.sum()
    if total == 0:
        return 0.0
    share = values[values > 0] / total
    share = share[share > 0]  # The share of a tiny value underflows to 0, whose logarithm is not finite.
    return float(np.exp(-np.sum(share * np.log(share))))


def stable_rank(rows_or_values: Array, *, centred: bool = False) -> float:
    """Stable rank: squared Frobenius norm over squared spectral norm; 0 for zeros.

    It is at most the rank, and insensitive to small singular values (Rudelson & Vershynin, J. ACM 54(4), 2007).

    Args:
        rows_or_values: Rows (n, d), or their singular values (k,).
        centred: Subtract the mean row first, as in `singular_values`. Only for rows.
    """
    values = _scaled(_values(rows_or_values, centred))
    return float(np.sum(values**2)) if values.size else 0.0


def participation_ratio(rows_or_values: Array, *, centred: bool = False) -> float:
    """Participation ratio: (sum of l)^2 / sum of l^2 with l = s^2 of the singular values s; 0 for zeros.

    Of centred rows, l are the variances along the principal axes, and the ratio is the dimension of the set as used in
    neuroscience (Gao et al., bioRxiv 214262, 2017).

    Args:
        rows_or_values: Rows (n, d), or their singular values (k,).
        centred: Subtract the mean row first, as in `singular_values`. Only for rows.
    """
    variances = _scaled(_values(rows_or_values, centred)) ** 2
    return float(np.sum(variances) ** 2 / np.sum(variances**2)) if variances.size else 0.0


def energy_rank(rows_or_values: Array, share: float = 0.9, *, centred: bool = False) -> int:
    """Number of the largest singular values whose squares sum up to ``share`` of the total; 0 for zeros.

    Args:
        rows_or_values: Rows (n, d), or their singular values (k,).
        share: In (0, 1].
        centred: Subtract the mean row first, as in `singular_values`. Only for rows.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], not {share}")
    energy = np.cumsum(_scaled(_values(rows_or_values, centred)) ** 2)
    return int(np.searchsorted(energy, share * energy[-1] * (1 - 1e-12)) + 1) if energy.size else 0


def spectral_decay(rows_or_values: Array, *, centred: bool = False) -> float:
    """Exponent a of the power law s_k ~ k^-a, k = 1, 2, ..., fitted to the singular values by least squares in log-log.

    It is 0 for a flat spectrum and large for one that falls at once. Values up to 1e-12 of the largest are rounding
    error and left out. NaN where fewer than two are left, as of rows on one line.

    Args:
        rows_or_values: Rows (n, d), or their singular values (k,).
        centred: Subtract the mean row first, as in `singular_values`. Only for rows.
    """
    values = _scaled(_values(rows_or_values, centred))
    values = values[values > 1e-12]
    if values.size < 2:
        return float("nan")
    rank = np.log(np.arange(1, values.size + 1))
    level = np.log(values)
    rank -= rank.mean()
    return float(-(rank @ (level - level.mean())) / (rank @ rank))


def isotropy(rows: Array) -> float:
    """Isotropy of the directions of ``rows`` (n, d): min Z(c) / max Z(c), in [e^-2, 1].

    Z(c) is the sum of exp(c . u_i) over the unit rows u_i. c runs through the eigenvectors of their second moment,
    with both signs (Mu & Viswanath, "All-but-the-Top", ICLR 2018; there with rows of any norm, here with unit rows, so
    that scale has no effect). It is near 1 for rows that point evenly in all directions, e^-2 = 0.135 where all rows
    point in one direction, and NaN for rows of zeros.
    """
    matrix = _matrix(rows)
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    units = np.divide(matrix, norms, out=np.zeros_like(matrix), where=norms > 0)
    if not norms.any():
        return float("nan")
    count, width = units.shape
    if count < width:
        # Z is n for directions outside the span of the rows. Those inside come from the smaller n x n matrix.
        gram = units @ units.T
        with one_thread():
            values, vectors = np.linalg.eigh(gram)
        used = values > width * np.finfo(np.float64).eps * values[-1]
        projections = vectors[:, used] * np.sqrt(values[used])
    else:
        gram = units.T @ units
        with one_thread():
            axes = np.linalg.eigh(gram)[1]
        projections = units @ axes
    grown = np.exp(projections)
    sums = np.concatenate([grown.sum(axis=0), (1 / grown).sum(axis=0)])
    if count < width:
        sums = np.append(sums, float(count))
    return float(sums.min() / sums.max())


def _matrix(rows: Array) -> npt.NDArray[np.float64]:
    matrix = np.asarray(rows, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"need a matrix with rows, not an array of shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("the rows hold NaN or infinity")
    return matrix


def _values(rows_or_values: Array, centred: bool) -> Vector:
    """The singular values of rows (n, d); singular values (k,) are checked and sorted."""
    if np.ndim(rows_or_values) != 1:
        return singular_values(rows_or_values, centred=centred)
    if centred:
        raise ValueError("centring needs the rows, not their singular values")
    values = np.sort(np.asarray(rows_or_values, dtype=np.float64))[::-1]
    if values.size == 0 or not np.isfinite(values).all() or values[-1] < 0:
        raise ValueError("singular values must be finite and not negative, and there must be one")
    return values


def _scaled(values: Vector) -> Vector:
    """The values divided by the largest, so that squares neither overflow nor vanish; empty for zeros."""
    return values / values[0] if values[0] > 0 else values[:0]
