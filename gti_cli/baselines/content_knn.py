"""The baseline `content-knn`: items whose embeddings are near those of a user's last items.

It uses no other user's items, so it can recommend an item that nobody has had yet. That makes it the baseline to beat
for new items. The embeddings are those of `gti build-ids`, from which the semantic IDs are made.

`gti_cli.baselines.content_knn_tuning` chooses the settings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli.baselines.base import Candidates, user_parts
from gti_cli.tensors.vector_file import VectorRows

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_ITEMS_AT_ONCE = 1 << 13  # Rows of the catalogue read at a time.
_CELLS_KEPT = 1 << 25  # Numbers of a catalogue's transformed embeddings that stay in memory: 256 MB.
_SPREAD_AT_MOST = 50_000  # Items from which the spread of the embeddings is measured, evenly spread over the catalogue.
_FLOOR = 1e-6  # Variances below this share of the largest count as none: whitening would blow up rounding there.
_TINY = np.finfo(np.float64).tiny
# Scores are multiples of this, so that equal embeddings have equal scores in whatever order a matrix product adds.
_RESOLUTION = 2.0**-30


@dataclass(frozen=True)
class ContentNeighbourhood:
    """The settings of `ContentKNN`. The defaults are untuned.

    Attributes:
        last: Number of last items of a history that the score is made of.
        decay: Factor on the weight for each step back in the history.
        centring: Share of the mean embedding that is subtracted from each embedding.
        whitening: Principal directions are divided by their variance to half this power: 0 leaves the embeddings as
            they are, 1 gives all directions the same variance.
        repeats: 1: items of the user's own history are recommended, too. 0: they are not.
    """

    last: int = 12
    decay: float = 0.5
    centring: float = 0.0
    whitening: float = 0.0
    repeats: int = 1


@dataclass(frozen=True)
class Spread:
    """How the embeddings of a catalogue spread, each at unit length.

    Attributes:
        mean: (d,).
        variances: (d,) variances along the principal directions.
        directions: (d, d) principal directions, in the columns.
    """

    mean: Floats
    variances: Floats
    directions: Floats

    @classmethod
    def measure(cls, vectors: VectorRows) -> Spread:
        """Measure the spread of (N, d) embeddings; zero vectors are left out."""
        total = len(vectors)
        rows = np.unique(np.linspace(0, total - 1, min(total, _SPREAD_AT_MOST)).astype(np.int64))
        width = int(vectors.shape[1])
        count, sums, products = 0, np.zeros(width), np.zeros((width, width))
        for start in range(0, len(rows), _ITEMS_AT_ONCE):
            units, is_known = unit_length(np.asarray(vectors[rows[start : start + _ITEMS_AT_ONCE]], dtype=np.float64))
            count += int(is_known.sum())
            sums += units.sum(0)
            products += units.T @ units
        mean = sums / max(count, 1)
        variances, directions = np.linalg.eigh(products / max(count, 1) - np.outer(mean, mean))
        return cls(mean, variances, directions)

    def transformation(self, whitening: float) -> Floats | None:
        """(d, d) matrix by which rows are multiplied to whiten them; None where ``whitening`` is 0."""
        if not whitening:
            return None
        is_used = self.variances > _FLOOR * self.variances[-1]  # Ascending: the last is the largest.
        scales = np.where(is_used, np.where(is_used, self.variances, 1.0) ** (-whitening / 2), 0.0)
        return self.directions * scales


def unit_length(vectors: Floats) -> tuple[Floats, Mask]:
    """Scale (n, d) vectors to length 1. Zero vectors stay; the (n,) mask is False for them."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    is_known = lengths > 0
    return vectors / np.where(is_known, lengths, 1.0)[:, None], is_known


class ItemSpace:
    """The embeddings of a catalogue, centred, whitened and of length 1. They are made block by block as they are read.

    The result for a catalogue of at most `_CELLS_KEPT` numbers stays in memory. Of a larger one, the lengths that the
    transformation gives are computed once and kept: with them, products with all items need no transformed item.
    """

    def __init__(self, vectors: VectorRows, spread: Spread | None, *, centring: float, whitening: float) -> None:
        """Prepare the transformation; nothing is read yet.

        Args:
            vectors: (N, d) float32 embeddings, rows as in the catalogue. A file stays where it is.
            spread: Of these embeddings; None is enough where nothing is centred or whitened.
            centring: See `ContentNeighbourhood`.
            whitening: See `ContentNeighbourhood`.
        """
        self._vectors, self.spread = vectors, spread
        self._shift = spread.mean * centring if spread is not None and centring else None
        self._whitener = spread.transformation(whitening) if spread is not None else None
        self._kept: tuple[Floats, Mask] | None = None
        self._scales: tuple[Floats, Floats] | None = None
        if len(vectors) * int(vectors.shape[1]) <= _CELLS_KEPT:
            self._kept = self._transform(vectors[:])

    def __len__(self) -> int:
        return len(self._vectors)

    def read(self, rows: slice | Ints) -> tuple[Floats, Mask]:
        """(n, d) vectors of some items, and an (n,) mask, False where nothing is known about the item."""
        if self._kept is not None:
            return self._kept[0][rows], self._kept[1][rows]
        return self._transform(self._vectors[rows])

    def products(self, profiles: Floats, rows: slice) -> tuple[Floats, Mask]:
        """Products of profiles with the vectors of some items.

        Args:
            profiles: (U, d), sums of vectors of this space.
            rows: Rows of n neighbouring items.

        Returns:
            (U, n), and an (n,) mask, False where nothing is known about the item.
        """
        if self._kept is not None:
            items, is_known = self.read(rows)
            return profiles @ items.T, is_known
        if self._scales is None:
            self._scales = self._measure_scales()
        # An item's vector is ((v / |v| - shift) W) / length: each profile is multiplied by W', not each item by W.
        folded = profiles if self._whitener is None else profiles @ self._whitener.T
        per_vector, per_length = (scale[rows] for scale in self._scales)
        values = folded @ self._vectors[rows].astype(np.float64).T
        values *= per_vector
        if self._shift is not None:
            values -= np.outer(folded @ self._shift, per_length)
        return values, per_length > 0

    def _measure_scales(self) -> tuple[Floats, Floats]:
        """(N,) 1 / (|v| length) and 1 / length of each item, with the names of `products`; 0 for an unknown item."""
        per_vector, per_length = np.zeros(len(self)), np.zeros(len(self))
        for start in range(0, len(self), _ITEMS_AT_ONCE):
            rows = slice(start, start + _ITEMS_AT_ONCE)
            vectors = self._vectors[rows].astype(np.float64)
            units, is_known = unit_length(vectors)
            moved = self._move(units, is_known)
            lengths = np.sqrt(np.einsum("nd,nd->n", moved, moved))
            is_known &= lengths > 0
            per_length[rows][is_known] = 1 / lengths[is_known]
            per_vector[rows] = per_length[rows] / np.maximum(np.sqrt(np.einsum("nd,nd->n", vectors, vectors)), _TINY)
        return per_vector, per_length

    def _move(self, units: Floats, is_known: Mask) -> Floats:
        """Centre and whiten (n, d) vectors of length 1; ``units`` itself where there is nothing to do."""
        if self._shift is not None:
            units = units - self._shift * is_known[:, None]
        return units if self._whitener is None else units @ self._whitener

    def _transform(self, vectors: npt.NDArray[np.float32]) -> tuple[Floats, Mask]:
        units, is_known = unit_length(vectors.astype(np.float64))
        moved = self._move(units, is_known)
        if moved is units:
            return units, is_known
        units, is_apart = unit_length(moved)
        return units, is_known & is_apart


class ContentKNN:
    """Scores items by the cosines of their embeddings with those of the last items of a history.

    The items of the history, from the last one back, are h_0, h_1, … The score of an item i is the sum over j of
    decay ** j * cos(e(i), e(h_j)), where e(i) is its embedding, centred and whitened. An item with a zero vector is not
    recommended, because nothing is known about it. After a history of such items alone, nothing is recommended.
    """

    def __init__(
        self, space: ItemSpace, settings: ContentNeighbourhood | None = None, name: str = "content-knn (untuned)"
    ) -> None:
        """Take embeddings that are centred and whitened as the settings say.

        Args:
            space: The embeddings.
            settings: Settings of the scores; None: the untuned defaults.
            name: Name of the baseline in tables.
        """
        self.name = name
        self.settings = settings or ContentNeighbourhood()
        self.space = space

    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) scores after U histories of catalogue rows; -inf for an item not recommended."""
        return np.concatenate([block for _, block in self.score_blocks(histories)], axis=1)

    def score_blocks(self, histories: Sequence[Sequence[int]]) -> Iterator[tuple[int, Floats]]:
        """The first row of each block of the catalogue, and the (U, n) scores of its items."""
        profiles, is_known = self._profiles(histories)
        owners = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
        own_rows = np.fromiter(itertools.chain.from_iterable(histories), np.int64, len(owners))
        for start in range(0, len(self.space), _ITEMS_AT_ONCE):
            scores, is_item_known = self.space.products(profiles, slice(start, start + _ITEMS_AT_ONCE))
            scores *= 1 / _RESOLUTION
            np.rint(scores, out=scores)
            scores *= _RESOLUTION
            scores[~is_known] = -np.inf
            scores[:, ~is_item_known] = -np.inf
            if not self.settings.repeats:
                inside = (own_rows >= start) & (own_rows < start + scores.shape[1])
                scores[owners[inside], own_rows[inside] - start] = -np.inf
            yield start, scores

    def candidate_scores(self, histories: Sequence[Sequence[int]], candidates: Candidates) -> Floats:
        """(M,) scores of the candidates; only their embeddings are read."""
        parts = [np.zeros(0)]
        for part, of_part in user_parts(histories, candidates):
            profiles, is_known = self._profiles(part)
            rows, owners = of_part.rows, of_part.owners()
            scores = np.empty(len(rows))
            # In the order of the catalogue: candidates of several users are read and transformed once.
            order = np.argsort(rows, kind="stable")
            for start in range(0, len(order), _ITEMS_AT_ONCE):
                chosen = order[start : start + _ITEMS_AT_ONCE]
                distinct, places = np.unique(rows[chosen], return_inverse=True)
                items, is_item_known = self.space.read(distinct)
                values = np.einsum("md,md->m", profiles[owners[chosen]], items[places])
                is_scored = is_known[owners[chosen]] & is_item_known[places]
                scores[chosen] = np.where(is_scored, np.rint(values / _RESOLUTION) * _RESOLUTION, -np.inf)
            if not self.settings.repeats:
                own_rows = [set(history) for history in part]
                is_own = [row in own_rows[owner] for row, owner in zip(rows.tolist(), owners.tolist(), strict=True)]
                scores[np.asarray(is_own, dtype=bool)] = -np.inf
            parts.append(scores)
        return np.concatenate(parts)

    def _profiles(self, histories: Sequence[Sequence[int]]) -> tuple[Floats, Mask]:
        """(U, d) weighted sums of the last items' embeddings, and whether any of these items is known."""
        recent = [history[-self.settings.last :][::-1] for history in histories]
        of_users = Candidates.from_lists(recent)
        owners = of_users.owners()
        steps_back = np.arange(len(owners)) - of_users.starts[owners]
        weights = np.asarray(self.settings.decay**steps_back, dtype=np.float64)
        distinct, places = np.unique(of_users.rows, return_inverse=True)
        items, is_known = self.space.read(distinct)
        shape = (len(recent), len(distinct))
        # An item that occurs twice gets the sum of both weights.
        history_weights = sparse.csr_matrix((weights, (owners, places.reshape(-1))), shape=shape)
        return history_weights @ items, history_weights @ is_known.astype(np.float64) > 0
