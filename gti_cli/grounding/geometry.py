"""What the new rows look like: effective rank, and agreement with the codebooks that the codes came from (RSA)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli.geometry.similarity import pearson, spearman
from gti_cli.geometry.spectrum import effective_rank

if TYPE_CHECKING:
    from gti_cli.vocabulary.tokens import NewTokens


@dataclass(frozen=True)
class Oracle:
    """Codebook vectors of the new tokens that are codes.

    Attributes:
        rows: (m,) int64, which of the new tokens. vectors: (m, d_code) float32.
    """

    rows: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]


def read_oracle(path: Path, tokens: NewTokens) -> Oracle | None:
    """The oracle of ``tokens`` from a ``codebooks.safetensors`` (``level_0`` …, each (K, d_code)).

    None where levels have vectors of other widths, so that two levels cannot be compared, or fewer than three tokens
    are codes. Tokens without a codebook (a level that only tells collisions apart) are left out.
    """
    from safetensors.numpy import load_file

    codebooks = load_file(path)
    rows, vectors = [], []
    for level in range(len(codebooks)):
        here = np.flatnonzero(tokens.levels == level)
        rows.append(here)
        vectors.append(codebooks[f"level_{level}"][tokens.codes[here]])
    if len({part.shape[1] for part in vectors}) != 1 or sum(map(len, rows)) < 3:
        return None
    return Oracle(np.concatenate(rows), np.concatenate(vectors))


def describe(
    rows: npt.NDArray[np.float32], oracle: Oracle | None, seed: int, among: npt.NDArray[np.int64] | None = None
) -> dict[str, float | None]:
    """Figures of new rows (n, d), as `gti diagnose` has them; the rank is of the rows ``among`` (None: all).

    Returns:
        ``effective_rank`` (Roy & Vetterli 2007) and, with an oracle, ``rsa_pearson`` and ``rsa_spearman``: correlation
        of the rows' cosines with the codebook vectors' over all pairs of codes; None where all rows are equal.
    """
    found: dict[str, float | None] = {"effective_rank": effective_rank(rows if among is None else rows[among])}
    if oracle is not None:
        learned = rows[oracle.rows]
        found["rsa_pearson"] = _number(pearson(learned, oracle.vectors))
        found["rsa_spearman"] = _number(spearman(learned, oracle.vectors, seed=seed))
    return found


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def describe_all(
    matrices: dict[str, Any], oracle: Oracle | None, seed: int, among: npt.NDArray[np.int64] | None = None
) -> dict[str, float | None]:
    """`describe` of each matrix, its name before the figures' (``""``: embedding, ``"output_"``: an untied head).

    ``among``: `NewTokens.described` (None: all).
    """
    return {
        prefix + name: value
        for prefix, rows in matrices.items()
        for name, value in describe(rows, oracle, seed, among).items()
    }
