"""Figures of the new rows: effective rank, and similarity analysis against the codebook vectors (RSA)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gti_cli.checkpoints.codebook_vectors import match_codebooks
from gti_cli.geometry.similarity import pearson, spearman
from gti_cli.geometry.spectrum import effective_rank
from gti_cli.tensors.codebooks import read_codebooks

if TYPE_CHECKING:
    from gti_cli.checkpoints.new_tokens import NewTokens

# Numbers (m,) of the new tokens that have a codebook vector, and these vectors (m, d_code).
ComparableVectors = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


def comparable_vectors(path: Path, tokens: NewTokens) -> ComparableVectors | None:
    """Read the codebook vectors of all tokens that are codes.

    Tokens without a codebook (those of a level that only tells collisions apart) are left out.

    Args:
        path: A ``codebooks.safetensors``.
        tokens: The new tokens.

    Returns:
        Numbers of the tokens that are codes, (m,) int64, and their vectors, (m, d_code) float32. None where levels have
        vectors of different widths, so that no two levels can be compared, or fewer than three tokens are codes.

    Raises:
        InputError: When the file is damaged, or its codebooks and the tokens do not belong together.
    """
    vectors = match_codebooks(tokens, read_codebooks(path), str(path), part=True)
    matrix = vectors.matrix() if len(vectors.rows) >= 3 else None
    return None if matrix is None else (vectors.rows, matrix)


def row_figures(
    rows: npt.NDArray[np.float32],
    codebooks: ComparableVectors | None,
    seed: int,
    among: npt.NDArray[np.int64] | None = None,
) -> dict[str, float | None]:
    """Compute figures of new rows, as `gti diagnose` does.

    Args:
        rows: (n, d) float32. The new rows.
        codebooks: Codebook vectors of some of the rows (None: there are none).
        seed: Seed of the sample of row pairs that is drawn where there are too many of them.
        among: (k,) int64. Numbers of the rows whose effective rank is computed (None: all).

    Returns:
        ``effective_rank`` (Roy & Vetterli 2007). With codebooks also ``rsa_pearson`` and ``rsa_spearman``: correlation
        between cosines of rows and cosines of codebook vectors, over all pairs of codes; None if all rows are equal.
    """
    figures: dict[str, float | None] = {"effective_rank": effective_rank(rows if among is None else rows[among])}
    if codebooks is not None:
        numbers, vectors = codebooks
        figures["rsa_pearson"] = _finite(pearson(rows[numbers], vectors))
        figures["rsa_spearman"] = _finite(spearman(rows[numbers], vectors, seed=seed))
    return figures


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def matrix_figures(
    matrices: Mapping[str, npt.NDArray[np.float32]],
    codebooks: ComparableVectors | None,
    seed: int,
    among: npt.NDArray[np.int64] | None = None,
) -> dict[str, float | None]:
    """Compute `row_figures` of each matrix.

    Args:
        matrices: Prefix of the figures' names -> rows (n, d), as `NewRows.matrices` returns them.
        codebooks: See `row_figures`.
        seed: See `row_figures`.
        among: See `row_figures`; usually `NewTokens.codes_or_all`.

    Returns:
        The figures by name, such as ``effective_rank`` and ``output_effective_rank``.
    """
    return {
        prefix + name: value
        for prefix, rows in matrices.items()
        for name, value in row_figures(rows, codebooks, seed, among).items()
    }
