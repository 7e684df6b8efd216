"""The baseline `item-knn`: items that occur near each other in users' sequences, as sparse matrices.

It only counts, and yet it beats published sequential recommenders on several public data sets. So it is tuned like a
competitor (`gti_cli.baselines.item_knn_tuning`), and the untuned form is reported beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli.baselines.base import Candidates, user_parts
from gti_cli.baselines.ranking.sparse_scores import sparse_target_ranks, sparse_top_columns, without_seen
from gti_cli.metrics.ranking import TargetRanks
from gti_cli.tables.arrays.ragged import owners_of, places_from
from gti_cli.tables.arrays.user_lists import UserLists

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_PAIRS_AT_ONCE = 1 << 21  # pairs of neighbours that are sorted at a time
_PAIRS_TOGETHER = 1 << 25  # pairs whose counts make one array: a large one leaves no gap in memory when it is freed
_SHORT_KEY = 32  # bits of a key of a pair, which is sorted in half the time of one of 64


@dataclass(frozen=True)
class Neighbourhood:
    """The settings of `ItemKNN`. The defaults are untuned.

    Attributes:
        window: Items at most this many steps apart in a sequence are neighbours.
        falloff: A pair that is d steps apart weighs d ** -falloff.
        backwards: Weight of a neighbour that came before the item, relative to one that came after it.
        last: Number of last items of a history whose neighbours are scored.
        decay: Factor on the weight for each step back in the history.
        normalisation: Similarities are divided by both items' training counts to this power; 0.5 is the cosine.
        shrinkage: Added to these counts, so that pairs of rare items count for less.
    """

    window: int = 5
    falloff: float = 1.0
    backwards: float = 0.5
    last: int = 5
    decay: float = 0.7
    normalisation: float = 0.5
    shrinkage: float = 0.0


class ItemKNN:
    """Scores items by their normalised co-occurrence with the last items of a history.

    The score of an item is the sum of its similarities to these items, and each step back in the history weighs less.
    Items without any such neighbour are not recommended.

    Attributes:
        name: Name in tables.
        settings: Settings of the count.
        scale: (N,) factor of each item, by which pairs were normalised.
        similarity: (N, N); the row is the item of the history, the column the item that is scored.
    """

    def __init__(
        self,
        train: Mapping[str, list[str]],
        row_of: Mapping[str, int],
        settings: Neighbourhood | None = None,
        name: str = "item-knn (untuned)",
        only: Ints | None = None,
    ) -> None:
        """Count neighbours in the training sequences.

        Args:
            train: Items of each user, in time order.
            row_of: Catalogue row of each item id.
            settings: Settings of the count; None: the untuned defaults.
            name: Name of the baseline in tables.
            only: Catalogue rows of the items that the last items of histories will be; the neighbours of no others are
                counted. None: any items.
        """
        self.name = name
        self.settings = settings or Neighbourhood()
        lists = UserLists.of(train)
        neighbours = Neighbours(lists.rows(row_of), lists.owners(), len(row_of))
        self.scale: Floats = item_factors(neighbours, self.settings)
        self.similarity = similarities(neighbours, self.settings, self.scale, only)

    @classmethod
    def of_similarity(
        cls, settings: Neighbourhood, scale: Floats, similarity: sparse.csr_matrix, name: str = "item-knn"
    ) -> ItemKNN:
        """The baseline of similarities that were counted before; see the attributes."""
        baseline = cls({}, {}, settings, name)
        baseline.scale, baseline.similarity = scale, similarity
        return baseline

    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) scores after U histories of catalogue rows; -inf for an item without a neighbour."""
        scores = self.sparse_scores(histories).toarray()
        return np.where(scores > 0, scores, -np.inf)

    def candidate_scores(self, histories: Sequence[Sequence[int]], candidates: Candidates) -> Floats:
        """(M,) scores of the candidates, from a few users' sparse scores at a time."""
        parts = [
            np.asarray(self.sparse_scores(part)[of_part.owners(), of_part.rows]).reshape(-1)
            for part, of_part in user_parts(histories, candidates)
            if len(of_part.rows)  # scipy's answer to a question for no element is no array
        ]
        scores = np.concatenate(parts) if parts else np.zeros(0)
        return np.where(scores > 0, scores, -np.inf)

    def sparse_scores(self, histories: Sequence[Sequence[int]]) -> sparse.csr_matrix:
        """(U, N) `scores` as a sparse matrix: items without a neighbour have no entry."""
        recent = [list(history[-self.settings.last :])[::-1] for history in histories]
        owners = np.repeat(np.arange(len(recent)), [len(rows) for rows in recent])
        weights = np.concatenate([self.settings.decay ** np.arange(len(rows)) for rows in recent])
        shape = (len(recent), self.similarity.shape[0])
        # (U, N) weight of each item of the history. An item that occurs twice gets the sum of both weights.
        history_weights = sparse.csr_matrix((weights, (owners, list(itertools.chain(*recent)))), shape=shape)
        return history_weights @ self.similarity

    def target_ranks(
        self, histories: Sequence[Sequence[int]], targets: Sequence[int], *, filter_seen: bool
    ) -> TargetRanks:
        """See `gti_cli.baselines.base.RanksItself`."""
        return sparse_target_ranks(self._listed(histories, filter_seen), np.asarray(targets, dtype=np.int64))

    def best_items(
        self, histories: Sequence[Sequence[int]], *, filter_seen: bool, k: int, allowed: Mask | None = None
    ) -> Ints:
        """See `gti_cli.baselines.base.RanksItself`."""
        scores = self._listed(histories, filter_seen)
        if allowed is not None:
            scores.data *= allowed[scores.indices]
        return sparse_top_columns(scores, k)

    def _listed(self, histories: Sequence[Sequence[int]], filter_seen: bool) -> sparse.csr_matrix:
        """(U, N) scores of the items that lists may have."""
        scores = self.sparse_scores(histories)
        return without_seen(scores, histories) if filter_seen else scores


class Neighbours:
    """Users' sequences, in which the neighbours of single items are found without a look at the others.

    Attributes:
        rows: (T,) int32 number of each item of all sequences, one sequence after the other.
        size: Number of items, N.
        counts: (N,) how often each item occurs.
    """

    def __init__(self, rows: Ints | npt.NDArray[np.int32], users: Ints, size: int) -> None:
        """Index the sequences.

        Args:
            rows: (T,) number of each item of all sequences, one sequence after the other.
            users: (T,) number of the user whose sequence it is.
            size: Number of items, N.
        """
        self.rows, self.size = rows.astype(np.int32), size
        self.counts: Ints = np.bincount(self.rows, minlength=size)
        is_first = np.ones(len(rows), dtype=bool)
        is_first[1:] = users[1:] != users[:-1]
        starts = np.flatnonzero(is_first)
        self._lengths = np.diff(np.append(starts, len(rows)))
        place_type = np.int32 if len(rows) < 1 << 30 else np.int64  # with room for a step beyond the last place
        # The places of each sequence's first and last item, for each item.
        self._first = np.repeat(starts, self._lengths).astype(place_type)
        self._last = np.repeat(starts + self._lengths - 1, self._lengths).astype(place_type)
        self._places = np.argsort(self.rows, kind="stable").astype(place_type)  # of item 0, then of item 1, …
        self._starts = np.append(0, np.cumsum(self.counts))

    def count(self, settings: Neighbourhood, only: Ints | None = None) -> sparse.csr_matrix:
        """Weights of all pairs of neighbours.

        Args:
            settings: Settings of the count.
            only: (n,) items whose rows are wanted, each once and rising; the other rows are empty. None: all.

        Returns:
            (N, N) matrix; the row is the item of the history, the column the item that is scored.
        """
        wanted = np.flatnonzero(self.counts) if only is None else only[self.counts[only] > 0]
        window = min(settings.window, int(self._lengths.max(initial=1)) - 1)
        if not len(wanted) or window < 1:
            return sparse.csr_matrix((self.size, self.size))
        weights = np.arange(1, window + 1, dtype=np.float64) ** -settings.falloff
        # What comes after the item, then what comes before it.
        steps = [*range(1, window + 1), *(range(-1, -window - 1, -1) if settings.backwards else ())]
        weights = np.concatenate([weights, settings.backwards * weights])[: len(steps)]
        most = np.cumsum(self.counts[wanted] * len(steps))
        columns, values, lengths = [], [], np.zeros(self.size, dtype=np.int64)
        for block in np.split(wanted, np.flatnonzero(np.diff(most // _PAIRS_TOGETHER)) + 1):
            lengths[block], of_columns, of_values = self._count_block(block, steps, weights)
            columns.append(of_columns)
            values.append(of_values)
        indptr = np.append(0, np.cumsum(lengths))
        pairs = _joined(values), _joined(columns), indptr
        return sparse.csr_matrix(pairs, shape=(self.size, self.size))

    def _count_block(
        self, items: Ints, steps: Sequence[int], weights: Floats
    ) -> tuple[Ints, npt.NDArray[np.int32], Floats]:
        """The pairs of some items: number of columns of each, then columns and weights, item after item."""
        most = np.cumsum(self.counts[items] * len(steps))
        # So few items at a time that short keys tell their pairs apart, if there are not too many columns.
        few = max((1 << max(_SHORT_KEY - len(steps).bit_length(), 0)) // self.size, 1)
        part = most // _PAIRS_AT_ONCE + np.arange(len(items)) // few
        parts = np.split(items, np.flatnonzero(np.diff(part)) + 1)
        lengths, columns, values = zip(*(self._count_few(own, steps, weights) for own in parts), strict=True)
        return np.concatenate(lengths), np.concatenate(columns), np.concatenate(values)

    def _count_few(
        self, items: Ints, steps: Sequence[int], weights: Floats
    ) -> tuple[Ints, npt.NDArray[np.int32], Floats]:
        """`_count_block` for a few items."""
        counts = self.counts[items]
        places = self._places[places_from(self._starts[items], counts)]
        bits = len(steps).bit_length()
        key_type = np.uint32 if len(items) * self.size << bits <= 1 << _SHORT_KEY else np.int64
        # The pair, and behind it in the last bits which step it is: sorted, equal pairs stand together.
        before = (owners_of(counts) * self.size).astype(key_type) << bits
        first, last = self._first[places], self._last[places]
        keys = []
        for number, step in enumerate(steps):
            beside = places + step
            inside = np.flatnonzero(beside <= last if step > 0 else beside >= first)
            keys.append(before[inside] + ((self.rows[beside[inside]].astype(key_type) << bits) + number))
        key = np.concatenate(keys)
        del keys
        key.sort()
        pair = key >> bits
        is_new = np.ones(len(pair), dtype=bool)
        is_new[1:] = pair[1:] != pair[:-1]
        starts = np.flatnonzero(is_new)
        values = np.add.reduceat(weights[key & ((1 << bits) - 1)], starts) if len(starts) else np.zeros(0)
        owner, column = np.divmod(pair[starts], self.size)
        return np.bincount(owner, minlength=len(items)), column.astype(np.int32), values


def _joined(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The parts as one array; each is freed as soon as it is copied, since they may be most of the memory."""
    whole = np.empty(sum(map(len, parts)), dtype=parts[0].dtype)
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole


def count_pairs(rows: Ints, users: Ints, size: int, settings: Neighbourhood) -> sparse.csr_matrix:
    """Weights of all pairs of neighbours in users' sequences; see `Neighbours`."""
    return Neighbours(rows, users, size).count(settings)


def item_factors(neighbours: Neighbours, settings: Neighbourhood) -> Floats:
    """(N,) factor of each item, by which pairs are normalised."""
    factors: Floats = np.maximum(neighbours.counts + settings.shrinkage, 1) ** -settings.normalisation
    return factors


def similarities(
    neighbours: Neighbours, settings: Neighbourhood, scale: Floats, only: Ints | None = None
) -> sparse.csr_matrix:
    """(N, N) counts of pairs, multiplied by the factors of both items; see `Neighbours.count`."""
    # The diagonal stays: where users come back to an item, an item is its own neighbour.
    return scaled(neighbours.count(settings, only), scale)


def scaled(counted: sparse.csr_matrix, scale: Floats) -> sparse.csr_matrix:
    """Multiply each pair by the factors of both items, in place."""
    counted.data *= np.repeat(scale, np.diff(counted.indptr))
    for start in range(0, counted.nnz, _PAIRS_AT_ONCE):
        counted.data[start : start + _PAIRS_AT_ONCE] *= scale[counted.indices[start : start + _PAIRS_AT_ONCE]]
    return counted
