"""New tokens in the order of their hierarchy, and their cosines as an image of limited size."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.checkpoints.codebook_vectors import CodebookVectors
from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.geometry.blocks import direction_order
from gti_cli.geometry.similarity import unit_rows


def hierarchy_order(
    tokens: NewTokens, codebook_vectors: CodebookVectors | None, parents: npt.NDArray[np.integer[Any]] | None
) -> npt.NDArray[np.int64]:
    """Row numbers (n,) of the new tokens by level, within a level by parent, and under a parent by similarity.

    Args:
        tokens: The n new tokens. Those without a level come last.
        codebook_vectors: Their codebook vectors; similar ones stand side by side. Tokens without one follow by code.
            None: all stand by code.
        parents: (n,). The code that precedes each, -1 for none. None: levels are not sorted by parent.
    """
    vectors_by_level = codebook_vectors.by_level() if codebook_vectors is not None else {}
    place: dict[tuple[int, int], int] = {}  # (level, code) -> position within its level
    order: list[int] = []
    for level in sorted(set(tokens.levels.tolist()), key=lambda level: (level < 0, level)):
        rows = np.flatnonzero(tokens.levels == level)
        rows = rows[np.argsort(tokens.codes[rows], kind="stable")]
        if level in vectors_by_level:
            with_vector, vectors = vectors_by_level[level]
            rows = np.concatenate([with_vector[direction_order(vectors)], np.setdiff1d(rows, with_vector)])
        if parents is not None and level >= 1:
            # Parents stand in the order of their own level. The sort is stable, so similar codes stay side by side.
            parent_places = [place.get((level - 1, int(parents[row])), len(tokens.names)) for row in rows]
            rows = rows[np.argsort(parent_places, kind="stable")]
        for position, row in enumerate(rows.tolist()):
            place[level, int(tokens.codes[row])] = position
        order += rows.tolist()
    return np.asarray(order, dtype=np.int64)


def binned_cosines(rows: npt.NDArray[np.float32], most: int = 600) -> npt.NDArray[np.float64]:
    """Cosines among ``rows`` (n, d), in their order, as an image of at most ``most`` x ``most`` pixels.

    Of at most ``most`` rows each pixel is one cosine. Of more rows it is the mean cosine of two runs of neighbouring
    rows. That is the dot product of the runs' mean unit rows, so the n x n cosines are never held.
    """
    units = unit_rows(rows)
    bins = min(len(units), most)
    edges = (np.arange(bins) * len(units)) // bins
    sums = np.add.reduceat(units, edges, axis=0)
    counts = np.diff(np.append(edges, len(units)))
    means = sums / counts[:, None]
    return np.asarray(np.clip(means @ means.T, -1.0, 1.0))
