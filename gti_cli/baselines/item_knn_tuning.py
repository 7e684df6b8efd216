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
from gti_cli.baselines.item_knn import ItemKNN, Neighbourhood
from gti_cli.baselines.setting_search import CUT_OFF, TuningOutcome, search_settings, settings_at_edge
from gti_cli.metrics.ranking import TargetRanks, ndcg_at
from gti_cli.tables.histories import History

TARGETS = 4000
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

    def ndcg_of(settings: Neighbourhood) -> float:
        """NDCG of the held-out items with these settings."""
        scores = ItemKNN(train, row_of, settings).sparse_scores(histories)
        return float(ndcg_at(sparse_target_ranks(scores, histories, targets, filter_seen), CUT_OFF).mean())

    untuned = Neighbourhood()
    best, measured = search_settings(untuned, GRID, ndcg_of, "item-knn")
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


def sparse_target_ranks(
    scores: sparse.csr_matrix,
    histories: Sequence[Sequence[int]],
    targets: npt.NDArray[np.int64],
    filter_seen: bool,
) -> TargetRanks:
    """Rank each target among the positive entries of its row, as `base.target_ranks` does with dense scores.

    Args:
        scores: (U, N) sparse scores; an item without an entry is not recommended.
        histories: Catalogue rows of each user's history.
        targets: (U,) catalogue rows.
        filter_seen: Do not recommend the items of a user's own history.
    """
    if filter_seen:
        lengths = [len(history) for history in histories]
        cells = (np.repeat(np.arange(len(lengths)), lengths), np.concatenate(histories).astype(np.int64))
        seen = sparse.csr_matrix((np.ones(len(cells[0])), cells), shape=scores.shape)
        scores = (scores - scores.multiply(seen > 0)).tocsr()  # Seen items become 0, which is below every other score.
    values = scores.data
    owners = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    # Score of each user's target; 0 where it has no entry.
    own = np.zeros(scores.shape[0])
    is_target = scores.indices == targets[owners]
    own[owners[is_target]] = values[is_target]
    size = scores.shape[0]
    ahead = np.bincount(owners[values > own[owners]], minlength=size)
    ties = np.bincount(owners[(values == own[owners]) & (values > 0)], minlength=size)
    return TargetRanks(np.where(own > 0, ahead, -1), np.maximum(ties, 1))
