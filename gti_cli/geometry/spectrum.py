"""Spectrum of a set of rows: singular values, and one number for how many directions the rows use.

Which matrix: the paper (arXiv 2604.02324) looks at the singular values of the new rows as they are, so "effective rank"
without a word is of the raw rows. Rows that share a mean have one dominating direction whatever else they do; with
``centred=True`` the mean row is taken off first, and the figure tells how many directions the rows differ in. The raw
figure is the one that shows collapse (rows that are one point plus a little noise have raw rank 1, whatever the noise).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.geometry.threads import one_thread

Array = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]

_WELL = 1e-4  # smallest singular value, of the largest, that a Gram matrix gives to 1e-8 of itself


def singular_values(rows: Array, *, centred: bool = False) -> Vector:
    """Singular values of ``rows`` (n, d), the largest first: (min(n, d),) float64.

    Args:
        rows: n rows of width d; computed in float64.
        centred: take the mean row off first. What remains of rows that are equal is rounding error, which has a full
            spectrum of its own, so values below max(n, d) * eps of the raw rows' largest norm are set to zero.

    Raises:
        ValueError: ``rows`` is no matrix, is empty, or holds NaN or infinity.
    """
    matrix = _matrix(rows)
    if not centred:
        return np.asarray(np.linalg.svd(matrix, compute_uv=False), dtype=np.float64)
    scale = float(np.linalg.norm(matrix))
    values = np.asarray(np.linalg.svd(matrix - matrix.mean(axis=0), compute_uv=False), dtype=np.float64)
    values[values <= max(matrix.shape) * np.finfo(np.float64).eps * scale] = 0.0
    return values


def both_spectra(rows: Array) -> tuple[Vector, Vector]:
    """The singular values of ``rows`` (n, d) as they are and centred: two (min(n, d),) vectors, much faster than twice
    `singular_values`, and the same to 1e-8 of each value.

    The reflection that turns the vector of ones into a multiple of the first axis keeps singular values and moves all
    that the rows share into the first row; the other n - 1 rows are the centred set, of full rank where it can be.
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
    for line, found in zip(padded, values, strict=False):
        line[: min(size, len(found))] = found[:size]
    return padded[0], padded[1]


def _values_of(matrix: npt.NDArray[np.float64]) -> Vector:
    """Singular values, from the small Gram matrix where that is exact enough.

    Squaring costs a value s a relative error of eps (s_1 / s)^2, at most 1e-8 down to `_WELL` of the largest; where
    smaller ones are there (rows that have collapsed), from the triangle of a QR decomposition.
    """
    scale = float(np.abs(matrix).max())
    if scale == 0:
        return np.zeros(min(matrix.shape))
    tall = (
        matrix if len(matrix) >= matrix.shape[1] else matrix.T
    ) / scale  # scaled: squares neither vanish nor overflow
    gram = tall.T @ tall
    with one_thread():
        squares = np.linalg.eigvalsh(gram)
        if squares[0] > _WELL**2 * squares[-1]:
            return np.asarray(scale * np.sqrt(squares[::-1]))
        return np.asarray(scale * np.linalg.svd(np.linalg.qr(tall, mode="r"), compute_uv=False))


def effective_rank(rows_or_values: Array, *, centred: bool = False) -> float:
    """Effective rank of rows (n, d), or of their singular values (k,).

    exp(H(p)) with p = s / sum(s) and H the entropy in nats (Roy & Vetterli, "The effective rank: a measure of effective
    dimensionality", EUSIPCO 2007): 1 for a rank-one matrix, min(n, d) where all singular values are equal.
    0 for a matrix of zeros. ``centred`` as in `singular_values` (only for rows).
    """
    values = _values(rows_or_values, centred)
    total = values.sum()
    if total == 0:
        return 0.0
    share = values[values > 0] / total
    share = share[share > 0]  # a value below the smallest float of the sum has no share
    return float(np.exp(-np.sum(share * np.log(share))))


def stable_rank(rows_or_values: Array, *, centred: bool = False) -> float:
    """Squared Frobenius norm over squared spectral norm, of rows (n, d) or of singular values (k,); 0 for zeros.

    Never more than the rank; insensitive to tiny singular values (Rudelson & Vershynin, J. ACM 54(4), 2007).
    """
    values = _scaled(_values(rows_or_values, centred))
    return float(np.sum(values**2)) if values.size else 0.0


def participation_ratio(rows_or_values: Array, *, centred: bool = False) -> float:
    """(sum of l)^2 / sum of l^2 with l = s^2, of rows (n, d) or of singular values (k,); 0 for zeros.

    With centred rows l are the variances along the principal axes, and this is the dimension of the cloud as used in
    neuroscience (Gao et al., bioRxiv 214262, 2017).
    """
    variances = _scaled(_values(rows_or_values, centred)) ** 2
    return float(np.sum(variances) ** 2 / np.sum(variances**2)) if variances.size else 0.0


def energy_rank(rows_or_values: Array, share: float = 0.9, *, centred: bool = False) -> int:
    """How many of the largest singular values hold ``share`` of the sum of their squares; 0 for zeros."""
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], not {share}")
    energy = np.cumsum(_scaled(_values(rows_or_values, centred)) ** 2)
    return int(np.searchsorted(energy, share * energy[-1] * (1 - 1e-12)) + 1) if energy.size else 0


def spectral_decay(rows_or_values: Array, *, centred: bool = False) -> float:
    """Exponent a of the power law s_k ~ k^-a, fitted by least squares in log-log over the singular values (k from 1).

    0 for a flat spectrum, large for one that falls at once. Values below 1e-12 of the largest are rounding error and
    are left out; NaN where fewer than two remain (rows on one line: there is no decay to fit).
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
    """How evenly the directions of ``rows`` (n, d) fill space: min Z(c) / max Z(c), in [e^-2, 1].

    Z(c) = sum of exp(c . u_i) over the unit rows u_i, c running through the eigenvectors of their second moment, both
    signs (Mu & Viswanath, "All-but-the-Top", ICLR 2018, there on rows of any norm; unit rows make it free of scale).
    1 for rows that look the same from everywhere, e^-2 = 0.135 for one point; 0 / 0 of zero rows is NaN.
    """
    matrix = _matrix(rows)
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    units = np.divide(matrix, norms, out=np.zeros_like(matrix), where=norms > 0)
    if not norms.any():
        return float("nan")
    count, width = units.shape
    if count < width:
        # Beyond the rows' span Z is n; inside, the eigenvectors come from the smaller n x n matrix.
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
    if np.ndim(rows_or_values) != 1:
        return singular_values(rows_or_values, centred=centred)
    if centred:
        raise ValueError("centring needs the rows, not their singular values")
    values = np.sort(np.asarray(rows_or_values, dtype=np.float64))[::-1]
    if values.size == 0 or not np.isfinite(values).all() or values[-1] < 0:
        raise ValueError("singular values must be finite and not negative, and there must be one")
    return values


def _scaled(values: Vector) -> Vector:
    """Divided by the largest, so that squares neither overflow nor vanish; empty for zeros."""
    return values / values[0] if values[0] > 0 else values[:0]
