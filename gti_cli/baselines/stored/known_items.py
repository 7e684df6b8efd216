"""A baseline that was fitted to some items, used with a catalogue that has others too.

A catalogue gets items after a baseline was fitted, and its rows may stand in another order then. A baseline that learns
from interactions knows nothing of such an item: it does not recommend it, and skips it in histories.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gti_cli.baselines.base import Baseline, Candidates
from gti_cli.tables.arrays.ragged import offsets_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def without_items(fitted: Baseline, hidden: Ints, items: int) -> OverKnownItems:
    """A baseline over a catalogue of ``items`` items that it was fitted to without any interaction of some, ``hidden``.

    It skips these in histories, where they would take the place of items that it knows.
    """
    known_row = np.arange(items, dtype=np.int64)
    known_row[hidden] = -1
    return OverKnownItems(fitted, known_row)


class OverKnownItems:
    """A baseline over the N items of a catalogue, of which the fitted baseline knows some.

    Attributes:
        name: Name of the fitted baseline.
    """

    def __init__(self, fitted: Baseline, known_row: Ints) -> None:
        """Take a baseline and where it has the items of the catalogue.

        Args:
            fitted: The baseline, with rows of its own.
            known_row: (N,) the baseline's row of each item of the catalogue; -1 for an item that it does not know.
        """
        self.name = fitted.name
        self._fitted, self._known_row = fitted, known_row

    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) scores; -inf for items that the baseline does not know, and after a history without known items."""
        scores = np.full((len(histories), len(self._known_row)), -np.inf)
        users, known = self._known_histories(histories)
        if len(users):
            columns = np.flatnonzero(self._known_row >= 0)
            scores[np.ix_(users, columns)] = self._fitted.scores(known)[:, self._known_row[columns]]
        return scores

    def candidate_scores(self, histories: Sequence[Sequence[int]], candidates: Candidates) -> Floats:
        """(M,) scores of the candidates; -inf as in `scores`."""
        users, known = self._known_histories(histories)
        has_history = np.zeros(len(histories), dtype=bool)
        has_history[users] = True
        owners, rows = candidates.owners(), self._known_row[candidates.rows]
        chosen = np.flatnonzero((rows >= 0) & has_history[owners])
        scores = np.full(len(rows), -np.inf)
        sizes = np.bincount(owners[chosen], minlength=len(histories))[users]
        scores[chosen] = self._fitted.candidate_scores(known, Candidates(offsets_of(sizes), rows[chosen]))
        return scores

    def _known_histories(self, histories: Sequence[Sequence[int]]) -> tuple[Ints, list[list[int]]]:
        """Users with at least one known item, and the baseline's rows of these."""
        known = [self._known_row[np.asarray(history, dtype=np.int64)] for history in histories]
        kept = [rows[rows >= 0].tolist() for rows in known]
        users = [number for number, rows in enumerate(kept) if rows]
        return np.asarray(users, dtype=np.int64), [kept[number] for number in users]
