"""Tuning of `item-knn` by NDCG on held-out items, never on the items that are reported.

`gti_cli.baselines.setting_search` searches the settings of `GRID`. Of many held-out items only `TARGETS` are
used, evenly spread over the users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli.baselines.base import spread_sample
from gti_cli.baselines.item_knn import ItemKNN, Neighbourhood, Neighbours, item_factors, scaled
from gti_cli.baselines.setting_search import CUT_OFF, TuningOutcome, search_settings, settings_at_edge
from gti_cli.metrics.ranking import ndcg_at
from gti_cli.tables.arrays.user_lists import UserLists
from gti_cli.tables.histories import History

TARGETS = 4000
_USERS_AT_ONCE = 256  # users whose scores are in memory at a time
Ints = npt.NDArray[np.int64]

GRID: dict[str, tuple[float, ...]] = {
    "window": (1, 2, 3, 5, 8, 12, 20),
    "falloff": (0.0, 0.5, 1.0, 2.0),
    "backwards": (0.0, 0.25, 0.5, 0.75, 1.0),
    "last": (1, 2, 3, 5, 8, 12, 20),
    "decay": (0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "normalisation": (0.0, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0),
    "shrinkage": (0.0, 1.0, 3.0, 10.0, 30.0),
}


# Beyond these values there is nothing to search.
ENDS: dict[str, tuple[float, ...]] = {
    "window": (1,),
    "falloff": (0.0,),
    "backwards": (0.0, 1.0),
    "last": (1,),
    "decay": (1.0,),
    "normalisation": (0.0,),
    "shrinkage": (0.0,),
}


def tune(
    train: Mapping[str, list[str]], held_out: Sequence[History], row_of: Mapping[str, int], *, filter_seen: bool
) -> TuningOutcome[Neighbourhood]:
    """Find settings that predict held-out items well.

    Args:
        train: Items of each user, without the held-out ones.
        held_out: At least one history and target.
        row_of: Catalogue row of each item id.
        filter_seen: Do not recommend seen items, as in the evaluation that the settings are for.
    """
    entries = spread_sample(held_out, TARGETS)
    histories = [[row_of[item] for item in entry.items] for entry in entries]
    targets = np.asarray([row_of[entry.target] for entry in entries])
    lists = UserLists.of(train)
    neighbours = Neighbours(lists.rows(row_of), lists.owners(), len(row_of))
    measure = _Measure(neighbours, histories, targets, filter_seen)
    untuned = Neighbourhood()
    best, measured = search_settings(untuned, GRID, measure.ndcg_of, "item-knn")
    return TuningOutcome(
        best,
        measured[best],
        measured[untuned],
        tried=len(measured),
        targets=len(entries),
        held_out=len(held_out),
        grid=GRID,
        at_edge=settings_at_edge(best, GRID, ENDS),
    )


class _Measure:
    """Measures settings on held-out items.

    Pairs are counted for those items alone that are among the last of a history; and of a target that is not among the
    first ten, nobody needs to know at which rank it is.

    Args:
        neighbours: The training sequences.
        histories: Catalogue rows of each history.
        targets: (U,) catalogue rows.
        filter_seen: Do not recommend seen items.
    """

    def __init__(
        self, neighbours: Neighbours, histories: Sequence[Sequence[int]], targets: Ints, filter_seen: bool
    ) -> None:
        self._neighbours, self._histories, self._targets = neighbours, histories, targets
        self._filter_seen = filter_seen
        # The pairs, with how many last items of each history they are counted for, and the same multiplied by factors.
        # Several settings in a row have them in common.
        self._counted: tuple[tuple[float, ...], int, sparse.csr_matrix] | None = None
        self._scaled: tuple[tuple[float, ...], sparse.csr_matrix] | None = None

    def ndcg_of(self, settings: Neighbourhood) -> float:
        """NDCG of the held-out items with these settings."""
        model = ItemKNN.of_similarity(settings, item_factors(self._neighbours, settings), self._similarity(settings))
        gains = np.zeros(len(self._targets))
        users = np.flatnonzero(self._may_be_first(model))
        for start in range(0, len(users), _USERS_AT_ONCE):
            part = users[start : start + _USERS_AT_ONCE]
            histories = [self._histories[user] for user in part.tolist()]
            ranks = model.target_ranks(histories, self._targets[part].tolist(), filter_seen=self._filter_seen)
            gains[part] = ndcg_at(ranks, CUT_OFF)
        return float(gains.mean())

    def _similarity(self, settings: Neighbourhood) -> sparse.csr_matrix:
        """The similarities of the last items of all histories to all items."""
        counted = self._count(settings)
        factors = (settings.normalisation, settings.shrinkage)
        if self._scaled is None or self._scaled[0] != factors:
            self._scaled = None
            own = sparse.csr_matrix((counted.data.copy(), counted.indices, counted.indptr), shape=counted.shape)
            self._scaled = factors, scaled(own, item_factors(self._neighbours, settings))
        return self._scaled[1]

    def _count(self, settings: Neighbourhood) -> sparse.csr_matrix:
        """The pairs of the last items of all histories."""
        key, last = (settings.window, settings.falloff, settings.backwards), settings.last
        if self._counted is not None and self._counted[0] == key:
            if last <= self._counted[1]:
                return self._counted[2]
            last = max(last, int(max(GRID["last"])))  # longer ends are being tried: count once for all of them
        self._counted = self._scaled = None  # two counts at once would be most of the memory
        ends = [np.asarray(history[-last:], dtype=np.int64) for history in self._histories]
        self._counted = key, last, self._neighbours.count(settings, np.unique(np.concatenate(ends)))
        return self._counted[2]

    def _may_be_first(self, model: ItemKNN) -> npt.NDArray[np.bool_]:
        """(U,) which targets may be among the first: nothing shows that ten items stand before them.

        No weight is negative. So the score of an item is at least what a single item of the history gives it, also
        after rounding, and an item that gets more than the target from a single one stands before the target.
        """
        settings, similarity = model.settings, model.similarity
        may = np.zeros(len(self._targets), dtype=bool)
        for user, (history, target) in enumerate(zip(self._histories, self._targets.tolist(), strict=True)):
            recent = list(history[-settings.last :])[::-1]
            rows = [slice(similarity.indptr[row], similarity.indptr[row + 1]) for row in recent]
            own = 0.0
            for back, row in enumerate(rows):
                place = row.start + int(np.searchsorted(similarity.indices[row], target))
                if place < row.stop and similarity.indices[place] == target:
                    own += settings.decay**back * similarity.data[place]
            enough = CUT_OFF + (len(history) if self._filter_seen else 0)
            may[user] = own > 0 and not any(
                # The margin is for another order of the sum.
                np.count_nonzero(settings.decay**back * similarity.data[row] > own * (1 + 1e-9)) >= enough
                for back, row in enumerate(rows)
            )
        return may
