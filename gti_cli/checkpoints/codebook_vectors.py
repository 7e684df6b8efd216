"""The codebook vectors of a checkpoint's new tokens, with which its learned rows are compared (RSA)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.errors import InputError


@dataclass(frozen=True)
class CodebookVectors:
    """Codebook vectors of those new tokens that are codes.

    Attributes:
        rows: (m,) int64, which of the new tokens. levels: (m,) int32, their levels.
        vectors: one (d_code,) float32 vector for each; widths may differ between levels (never within one).
    """

    rows: npt.NDArray[np.int64]
    levels: npt.NDArray[np.int32]
    vectors: list[npt.NDArray[np.float32]]

    def matrix(self) -> npt.NDArray[np.float32] | None:
        """All vectors (m, d_code); None where levels have other widths, so that no two levels can be compared."""
        return np.stack(self.vectors) if len({len(vector) for vector in self.vectors}) == 1 else None

    def by_level(self) -> dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """For each level the rows (m_l,) of its tokens and their vectors (m_l, d_code)."""
        found = {}
        for level in sorted(set(self.levels.tolist())):
            here = np.flatnonzero(self.levels == level)
            found[level] = (self.rows[here], np.stack([self.vectors[row] for row in here]))
        return found


def match_codebooks(
    tokens: NewTokens, codebooks: list[npt.NDArray[np.float32]], where: str, *, part: bool = False
) -> CodebookVectors:
    """Give each new token that is a code its codebook vector; tokens without one (a suffix level, others) are left out.

    Args:
        tokens: the new tokens. codebooks: of each level. where: the checkpoint, for the error line.
        part: the tokens are a chosen part of the vocabulary, so levels may have fewer tokens than codes.

    Raises:
        InputError: a level has more tokens than its codebook has codes, or (not ``part``) fewer.
    """
    rows, vectors = [], []
    for level, codebook in enumerate(codebooks):
        here = np.flatnonzero(tokens.levels == level)
        if len(here) and (tokens.codes[here].max() >= len(codebook) or (len(here) < len(codebook) and not part)):
            raise InputError(
                f"the checkpoint has {len(here):,} tokens of level {level} and the codebook {len(codebook):,} codes",
                where=where,
                remedy="they do not belong together: give the right --codebooks FILE, or --codebooks none for no RSA",
            )
        rows.append(here)
        vectors += list(codebook[tokens.codes[here]])
    index = np.concatenate(rows)
    return CodebookVectors(index, tokens.levels[index], vectors)
