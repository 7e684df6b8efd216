"""Match the new tokens of a checkpoint with codebook vectors, so that learned rows can be compared with them (RSA)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.errors import InputError


@dataclass(frozen=True)
class CodebookVectors:
    """Codebook vectors of those m new tokens that have one.

    Attributes:
        rows: (m,) int64 indices of these tokens in the list of new tokens.
        levels: (m,) int32 their levels.
        vectors: m arrays (d_code,) float32; the width may differ between levels but not within one.
    """

    rows: npt.NDArray[np.int64]
    levels: npt.NDArray[np.int32]
    vectors: list[npt.NDArray[np.float32]]

    def matrix(self) -> npt.NDArray[np.float32] | None:
        """Return all vectors (m, d_code), or None where levels differ in width and so cannot be compared."""
        return np.stack(self.vectors) if len({len(vector) for vector in self.vectors}) == 1 else None

    def by_level(self) -> dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Return for each level the `rows` (m_l,) of its tokens and their vectors (m_l, d_code)."""
        levels = {}
        for level in sorted(set(self.levels.tolist())):
            in_level = np.flatnonzero(self.levels == level)
            levels[level] = (self.rows[in_level], np.stack([self.vectors[index] for index in in_level]))
        return levels


def match_codebooks(
    tokens: NewTokens, codebooks: list[npt.NDArray[np.float32]], where: str, *, part: bool = False
) -> CodebookVectors:
    """Give each new token that is a code its codebook vector.

    Tokens of levels without a codebook are left out, and so are tokens that are not codes.

    Args:
        tokens: The new tokens.
        codebooks: For each level the vectors (K_l, d_code).
        where: The checkpoint, for the error line.
        part: Whether ``tokens`` are a selection, so that a level may have fewer tokens than codes.

    Raises:
        InputError: When a level has more tokens than its codebook has codes, or fewer without ``part``.
    """
    rows, vectors = [], []
    for level, codebook in enumerate(codebooks):
        here = np.flatnonzero(tokens.levels == level)
        incomplete = len(here) < len(codebook) and not part
        if len(here) and (tokens.codes[here].max() >= len(codebook) or incomplete):
            raise InputError(
                f"the checkpoint has {len(here):,} tokens of level {level} and the codebook {len(codebook):,} codes",
                where=where,
                remedy="they do not belong together: give the right --codebooks FILE, or --codebooks none for no RSA",
            )
        rows.append(here)
        vectors += list(codebook[tokens.codes[here]])
    indices = np.concatenate(rows)
    return CodebookVectors(indices, tokens.levels[indices], vectors)
