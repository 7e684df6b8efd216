"""The prior `content-knn`: an item's mass grows with the cosine of its embedding with those of the last items.

The scores are those of the baseline of this name (`gti_cli.baselines.content_knn`), and a softmax makes them masses.
It knows nothing of what users did, so no user has to be left out of it in training, and an item that nobody has had
yet has its mass like any other. Each embedding is stored with the prior, in float16: so training and search see the
same, and a checkpoint needs no workspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli.baselines.content_knn import ContentKNN, ContentNeighbourhood, ItemSpace, Spread
from gti_cli.priors.masses import Prior, Targets
from gti_cli.priors.sasrec_prior import MOST_ITEMS, masses_of_scores
from gti_cli.tensors.vector_file import VectorRows

Floats = npt.NDArray[np.float64]
Halves = npt.NDArray[np.float16]


class ContentKnnPrior:
    """Masses of items behind histories.

    Attributes:
        vectors: (N, d) float16 embeddings; a zero vector for an item of which nothing is known.
        spread: Of the embeddings that the settings were chosen for.
        settings: Settings of the scores.
        temperature: Scores are divided by it before they become probabilities.
        most_items: Most items that have mass behind a history, the likeliest ones. The others have none.
    """

    name = "content-knn"

    def __init__(
        self,
        vectors: Halves,
        spread: Spread,
        settings: ContentNeighbourhood,
        temperature: float = 1.0,
        most_items: int = MOST_ITEMS,
    ) -> None:
        """Take embeddings and settings; see the attributes."""
        self.vectors, self.spread, self.settings = vectors, spread, settings
        self.temperature, self.most_items = temperature, most_items
        space = ItemSpace(vectors.astype(np.float32), spread, centring=settings.centring, whitening=settings.whitening)
        self._scorer = ContentKNN(space, settings)

    @property
    def items(self) -> int:
        """Number of items of the catalogue."""
        return len(self.vectors)

    def with_temperature(self, temperature: float) -> ContentKnnPrior:
        """The same scores with another temperature."""
        return ContentKnnPrior(self.vectors, self.spread, self.settings, temperature, self.most_items)

    def with_new(self, vectors: VectorRows) -> ContentKnnPrior:
        """The same prior that also knows items which came later.

        Args:
            vectors: (N, d) float32 embeddings of the catalogue as it is now.
        """
        if vectors.shape != self.vectors.shape:
            return self  # of another encoder: they cannot be compared
        unknown = np.flatnonzero(~self.vectors.any(axis=1))
        if not len(unknown):
            return self
        filled = self.vectors.copy()
        filled[unknown] = vectors[unknown]
        return ContentKnnPrior(filled, self.spread, self.settings, self.temperature, self.most_items)

    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) scores behind U histories of catalogue rows; -inf for an item that is not recommended."""
        return self._scorer.scores(histories)

    def masses(self, histories: Sequence[Sequence[int]]) -> sparse.csr_matrix:
        """(U, N) masses of items behind U histories of catalogue rows, oldest first; see `masses_of_scores`."""
        return masses_of_scores(self.scores, histories, self.items, self.temperature, self.most_items)


@dataclass(frozen=True)
class PlainTargetMasses:
    """Masses for training from a prior that knows nothing of what users did: those of a search.

    Attributes:
        prior: The prior.
    """

    prior: Prior

    def masses_of_targets(self, parts: Sequence[Targets]) -> sparse.csr_matrix:
        """(targets, N) masses behind the history of each target; the targets of one part after those of the other."""
        return self.prior.masses([part.items[:place] for part in parts for place in part.places])


def placed_vectors(vectors: Halves, rows: npt.NDArray[np.int64], total: int) -> Halves:
    """Put embeddings into the rows of a catalogue; the other rows are zero: nothing is known of these items.

    Args:
        vectors: (n, d) embeddings.
        rows: (n,) catalogue row of each; -1 for an item that is not in the catalogue.
        total: Items of the catalogue, N.
    """
    placed: npt.NDArray[Any] = np.zeros((total, vectors.shape[1]), dtype=np.float16)
    placed[rows[rows >= 0]] = vectors[rows >= 0]
    return placed
