"""The prior `sasrec`: an item's mass is the probability that a trained network gives it as the next one.

The network is that of the baseline of this name (`gti_cli.baselines.sasrec`). It would know every training answer, so
in training the masses are *cross-fitted*: each user's targets get them from a network that was trained without this
user.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli.baselines.sasrec import SASRec, Size
from gti_cli.baselines.stored.known_items import OverKnownItems
from gti_cli.priors.masses import Targets

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_ITEMS = 10_000  # Items that have mass behind a history. The masses of larger catalogues would not fit into memory.
_CELLS_AT_ONCE = 1 << 22  # Most scores in memory at a time.


class SasrecPrior:
    """Masses of items behind histories.

    Attributes:
        fitted: The trained network.
        known_row: (N,) the network's row of each item of the catalogue; -1 for an item that came later, which has no
            mass.
        temperature: The network's scores are divided by it before they become probabilities.
        most_items: Most items that have mass behind a history, the likeliest ones. The others have none.
    """

    name = "sasrec"

    def __init__(self, fitted: SASRec, known_row: Ints, temperature: float = 1.0, most_items: int = MOST_ITEMS) -> None:
        """Take a trained network; see the attributes."""
        self.fitted, self.known_row, self.temperature, self.most_items = fitted, known_row, temperature, most_items
        self._scorer = OverKnownItems(fitted, known_row)

    @property
    def items(self) -> int:
        """Number of items of the catalogue."""
        return len(self.known_row)

    @property
    def size(self) -> Size:
        """Size of the network."""
        return self.fitted.network.size

    def with_temperature(self, temperature: float) -> SasrecPrior:
        """The same network with another temperature."""
        return SasrecPrior(self.fitted, self.known_row, temperature, self.most_items)

    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) scores behind U histories of catalogue rows; -inf for all items where none of a history is known."""
        return self._scorer.scores(histories)

    def masses(self, histories: Sequence[Sequence[int]]) -> sparse.csr_matrix:
        """(U, N) masses of items behind U histories of catalogue rows, oldest first.

        A row sums to 1, or to less where items were left without mass; to 0 where no item of the history is known.
        """
        return masses_of_scores(self.scores, histories, self.items, self.temperature, self.most_items)


def masses_of_scores(
    scores: Callable[[Sequence[Sequence[int]]], Floats],
    histories: Sequence[Sequence[int]],
    items: int,
    temperature: float,
    most_items: int,
) -> sparse.csr_matrix:
    """Turn scores into masses, a few histories at a time.

    Args:
        scores: Returns the (u, N) scores behind u histories; -inf for an item that is not recommended.
        histories: Catalogue rows of U histories, oldest first.
        items: Number of items, N.
        temperature: Scores are divided by it.
        most_items: Most items that have mass behind a history, the likeliest ones.

    Returns:
        (U, N). A row sums to 1, or to less where items were left without mass; to 0 where no score is finite.
    """
    parts = [sparse.csr_matrix((0, items))]
    for start in range(0, len(histories), at_once := max(_CELLS_AT_ONCE // items, 1)):
        masses = probabilities(scores(histories[start : start + at_once]), temperature)
        parts.append(_largest(masses, most_items))
    return sparse.vstack(parts, format="csr")


def probabilities(scores: Floats, temperature: float) -> Floats:
    """Softmax of each row of scores.

    Args:
        scores: (U, N); -inf for an item that is not recommended.
        temperature: Scores are divided by it first.

    Returns:
        (U, N) probabilities; zeros in a row without a finite score.
    """
    largest = scores.max(axis=1, keepdims=True)
    exponents = np.exp((scores - np.where(np.isfinite(largest), largest, 0.0)) / temperature)
    total = exponents.sum(axis=1, keepdims=True)
    return exponents / np.where(total > 0, total, 1.0)


def _largest(masses: Floats, most: int) -> sparse.csr_matrix:
    """The ``most`` largest entries of each row."""
    rows, items = masses.shape
    if items <= most:
        return sparse.csr_matrix(masses)
    columns = np.sort(np.argpartition(masses, items - most, axis=1)[:, items - most :], axis=1)
    kept = np.take_along_axis(masses, columns, 1).ravel()
    largest = sparse.csr_matrix((kept, columns.ravel(), np.arange(rows + 1) * most), shape=masses.shape)
    largest.eliminate_zeros()
    return largest


@dataclass(frozen=True)
class CrossFitted:
    """Masses for training: from networks that were trained on some of the users each.

    Attributes:
        whole: The prior of all users, for histories that are of none of them.
        folds: Priors whose networks were trained on all users but those of one fold.
        fold_of_user: (users,) number of each user's fold, by the user's number.
    """

    whole: SasrecPrior
    folds: Sequence[SasrecPrior]
    fold_of_user: Ints

    def masses_of_targets(self, parts: Sequence[Targets]) -> sparse.csr_matrix:
        """(targets, N) masses behind the history of each target; the targets of one part after those of the other."""
        histories = [part.items[:place] for part in parts for place in part.places]
        users = np.repeat([part.user for part in parts], [len(part.places) for part in parts]).astype(np.int64)
        # A user who is in no fold has number -1.
        folds = np.where(users >= 0, self.fold_of_user[users], len(self.folds))
        numbers = [np.flatnonzero(folds == fold) for fold in range(len(self.folds) + 1)]
        masses = [
            prior.masses([histories[number] for number in own])
            for prior, own in zip([*self.folds, self.whole], numbers, strict=True)
        ]
        return sparse.vstack(masses, format="csr")[np.argsort(np.concatenate(numbers), kind="stable")]
