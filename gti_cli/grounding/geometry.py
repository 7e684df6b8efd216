"""What the new rows look like: effective rank, and agreement with the codebooks that the codes came from (RSA)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli.checkpoints.codebook_vectors import match_codebooks
from gti_cli.geometry.similarity import pearson, spearman
from gti_cli.geometry.spectrum import effective_rank
from gti_cli.tensors.codebooks import read_codebooks

if TYPE_CHECKING:
    from gti_cli.checkpoints.new_tokens import NewTokens


ComparableVectors = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


def comparable_vectors(path: Path, tokens: NewTokens) -> ComparableVectors | None:
    """The codebook vectors of all tokens that are codes.

    Tokens without a codebook (those of a level that only tells collisions apart) are left out.

    Args:
        path: A ``codebooks.safetensors``.
        tokens: The new tokens.

    Returns:
        Which of the tokens are codes, (m,) int64, and their vectors, (m, d_code) float32. None where levels have
        vectors of different widths, so that no two levels can be compared, or fewer than three tokens are codes.

    Raises:
        InputError: The file is damaged, or its codebooks and the tokens do not belong together.
    """
    vectors = match_codebooks(tokens, read_codebooks(path), str(path), part=True)
    matrix = vectors.matrix() if len(vectors.rows) >= 3 else None
    return None if matrix is None else (vectors.rows, matrix)


def describe(
    rows: npt.NDArray[np.float32],
    codebooks: ComparableVectors | None,
    seed: int,
    among: npt.NDArray[np.int64] | None = None,
) -> dict[str, float | None]:
    """Figures of new rows (n, d), as `gti diagnose` has them; the rank is of the rows ``among`` (None: all).

    Returns:
        ``effective_rank`` (Roy & Vetterli 2007) and, with codebooks, ``rsa_pearson`` and ``rsa_spearman``: correlation
        of the rows' cosines with the codebook vectors' over all pairs of codes; None where all rows are equal.
    """
    found: dict[str, float | None] = {"effective_rank": effective_rank(rows if among is None else rows[among])}
    if codebooks is not None:
        numbers, vectors = codebooks
        found["rsa_pearson"] = _number(pearson(rows[numbers], vectors))
        found["rsa_spearman"] = _number(spearman(rows[numbers], vectors, seed=seed))
    return found


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def describe_all(
    matrices: dict[str, Any], codebooks: ComparableVectors | None, seed: int, among: npt.NDArray[np.int64] | None = None
) -> dict[str, float | None]:
    """`describe` of each matrix, its name before the figures' (``""``: embedding, ``"output_"``: an untied head).

    ``among``: `NewTokens.described` (None: all).
    """
    return {
        prefix + name: value
        for prefix, rows in matrices.items()
        for name, value in describe(rows, codebooks, seed, among).items()
    }
