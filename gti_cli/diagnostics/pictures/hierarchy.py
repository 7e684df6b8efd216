"""New tokens in the order of their hierarchy, and their cosines as a picture of limited size."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.checkpoints.codebook_vectors import CodebookVectors
from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.geometry.blocks import direction_order
from gti_cli.geometry.similarity import unit_rows


def hierarchy_order(
    tokens: NewTokens, oracle: CodebookVectors | None, parents: npt.NDArray[np.integer[Any]] | None
) -> npt.NDArray[np.int64]:
    """An order (n,) of the tokens: level by level, within a level under their parents, then alike codes side by side.

    Alike by the codebook where there is one, else by code. Tokens without level come last.
    """
    vectors = oracle.by_level() if oracle is not None else {}
    place: dict[tuple[int, int], int] = {}  # (level, code) -> position within its level
    order: list[int] = []
    for level in sorted(set(tokens.levels.tolist()), key=lambda level: (level < 0, level)):
        rows = np.flatnonzero(tokens.levels == level)
        rows = rows[np.argsort(tokens.codes[rows], kind="stable")]
        if level in vectors:
            known, matrix = vectors[level]
            rows = np.concatenate([known[direction_order(matrix)], np.setdiff1d(rows, known)])
        if parents is not None and level >= 1:
            above = [place.get((level - 1, int(parents[row])), len(tokens.names)) for row in rows]
            rows = rows[np.argsort(above, kind="stable")]
        for position, row in enumerate(rows.tolist()):
            place[level, int(tokens.codes[row])] = position
        order += rows.tolist()
    return np.asarray(order, dtype=np.int64)


def binned_cosines(rows: npt.NDArray[np.float32], most: int = 600) -> npt.NDArray[np.float64]:
    """Cosines among ``rows`` (n, d), in their order, as an image of at most ``most`` x ``most`` pixels.

    Up to ``most`` rows a pixel is a cosine; beyond, it is the mean over neighbouring rows (n^2 cosines are never held).
    """
    units = unit_rows(rows)
    bins = min(len(units), most)
    edges = (np.arange(bins) * len(units)) // bins
    sums = np.add.reduceat(units, edges, axis=0)
    counts = np.diff(np.append(edges, len(units)))
    means = sums / counts[:, None]
    return np.asarray(np.clip(means @ means.T, -1.0, 1.0))
