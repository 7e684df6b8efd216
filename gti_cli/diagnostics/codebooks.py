"""The codebook vectors of new tokens: the oracle that learned rows are compared with (RSA)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import read_header
from gti_cli.vocabulary.tokens import NewTokens

_LEVEL = re.compile(r"level_(\d+)")


@dataclass(frozen=True)
class Oracle:
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


def read_codebooks(path: Path) -> list[npt.NDArray[np.float32]]:
    """The codebooks ``level_0``, ``level_1``, …: (K_l, d_code) float32 each.

    Raises:
        InputError: no such file, a damaged one, no ``level_0``, a gap between levels, NaN.
    """
    if not path.is_file():
        raise InputError("no such file", where=str(path), remedy="give the codebooks.safetensors of 'gti build-ids'")
    places = {int(match[1]): place for name, place in read_header(path).items() if (match := _LEVEL.fullmatch(name))}
    if sorted(places) != list(range(len(places))) or not places:
        raise InputError(
            "holds no codebooks level_0, level_1, … without a gap", where=str(path), remedy="run 'gti build-ids' again"
        )
    again = "run 'gti build-ids' again"
    codebooks = []
    for level in range(len(places)):
        if len(places[level].shape) != 2:
            raise InputError(f"level_{level} is no matrix", where=str(path), remedy=again)
        vectors = places[level].rows(np.arange(places[level].shape[0]))
        if not np.isfinite(vectors).all():
            raise InputError(
                f"level_{level} holds NaN or infinity", where=str(path), remedy="run 'gti build-ids' again"
            )
        codebooks.append(vectors)
    return codebooks


def match(tokens: NewTokens, codebooks: list[npt.NDArray[np.float32]], where: str, *, part: bool = False) -> Oracle:
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
    return Oracle(index, tokens.levels[index], vectors)
