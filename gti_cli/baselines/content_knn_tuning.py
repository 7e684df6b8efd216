"""Tuning of `content-knn` by NDCG on held-out items, never on the items that are reported.

`gti_cli.baselines.setting_search` searches the settings of `GRID`. The budget is bounded. Of a large
catalogue, only `ITEMS` items, evenly spread, are ranked, and those of the targets and the histories. The number of
held-out targets is such that about `CELLS` scores are computed for each setting.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.baselines.base import Candidates, rank_in_blocks, spread_sample
from gti_cli.baselines.content_knn import ContentKNN, ContentNeighbourhood, ItemSpace, Spread
from gti_cli.baselines.setting_search import CUT_OFF, TuningOutcome, search_settings, settings_at_edge
from gti_cli.metrics.ranking import join_ranks, ndcg_at
from gti_cli.tables.histories import History
from gti_cli.tensors.vector_file import VectorRows

Ints = npt.NDArray[np.int64]

GRID: dict[str, tuple[float, ...]] = {
    "repeats": (0, 1),
    "decay": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "whitening": (0.0, 0.25, 0.5, 0.75, 1.0),
    "centring": (0.0, 0.5, 1.0),
    "last": (1, 2, 3, 5, 8, 12, 20, 50),
}
# Beyond these values there is nothing to search.
ENDS: dict[str, tuple[float, ...]] = {
    "repeats": (0, 1),
    "last": (1,),
    "decay": (1.0,),
    "centring": (0.0, 1.0),
    "whitening": (0.0, 1.0),
}
ITEMS = 50_000
TARGETS = 4000
FEWEST_TARGETS = 1000
CELLS = 1 << 25
_USERS_AT_ONCE = 1024


def tune_content_knn(
    vectors: VectorRows,
    spread: Spread,
    held_out: Sequence[History],
    row_of: Mapping[str, int],
    *,
    filter_seen: bool,
) -> TuningOutcome[ContentNeighbourhood]:
    """Find settings that predict held-out items well.

    Args:
        vectors: (N, d) embeddings, rows as in the catalogue.
        spread: Of these embeddings.
        held_out: At least one history and target.
        row_of: Catalogue row of each item id.
        filter_seen: Do not recommend seen items, as in the evaluation that the settings are for.
    """
    entries = spread_sample(held_out, min(TARGETS, max(FEWEST_TARGETS, CELLS // min(len(vectors), ITEMS))))
    histories = [[row_of[item] for item in entry.items] for entry in entries]
    targets = [row_of[entry.target] for entry in entries]
    sample, histories, targets = _cut_catalogue(vectors, histories, targets)
    spaces: dict[tuple[float, float], ItemSpace] = {}

    def ndcg_of(settings: ContentNeighbourhood) -> float:
        """NDCG on the held-out items; only the embeddings of the last transformation stay in memory."""
        key = (settings.centring, settings.whitening)
        if key not in spaces:
            spaces.clear()
            spaces[key] = ItemSpace(sample, spread, centring=key[0], whitening=key[1])
        return _mean_ndcg(ContentKNN(spaces[key], settings), histories, targets, filter_seen)

    untuned = ContentNeighbourhood()
    best, measured = search_settings(untuned, GRID, ndcg_of, "content-knn")
    return TuningOutcome(
        best,
        measured[best],
        measured[untuned],
        tried=len(measured),
        targets=len(entries),
        held_out=len(held_out),
        grid=GRID,
        at_edge=settings_at_edge(best, GRID, ENDS),
        items=len(sample),
    )


def _mean_ndcg(
    model: ContentKNN, histories: Sequence[Sequence[int]], targets: Sequence[int], filter_seen: bool
) -> float:
    ranks = []
    for start in range(0, len(targets), _USERS_AT_ONCE):
        some, of_some = histories[start : start + _USERS_AT_ONCE], targets[start : start + _USERS_AT_ONCE]
        own = model.candidate_scores(some, Candidates.from_lists([[row] for row in of_some]))
        blocks = model.score_blocks(some)
        ranks.append(rank_in_blocks(blocks, own, some, of_some, filter_seen=filter_seen, k=0)[0])
    return float(ndcg_at(join_ranks(ranks), CUT_OFF).mean())


def _cut_catalogue(
    vectors: VectorRows, histories: list[list[int]], targets: list[int]
) -> tuple[npt.NDArray[Any], list[list[int]], list[int]]:
    """Keep `ITEMS` items of the catalogue, and those of the targets and of the ends of the histories.

    Returns:
        The embeddings of the items that are kept, and histories and targets as rows of these.
    """
    if len(vectors) <= ITEMS:
        return np.asarray(vectors[:]), histories, targets
    ends = itertools.chain.from_iterable(history[-int(GRID["last"][-1]) :] for history in histories)
    spread_rows = np.linspace(0, len(vectors) - 1, ITEMS).astype(np.int64)
    kept = np.unique(np.concatenate([spread_rows, targets, np.fromiter(ends, np.int64)]))
    position = {row: number for number, row in enumerate(kept.tolist())}
    # Older items that are not kept do not count in any setting, and cannot be recommended here.
    cut = [[position[row] for row in history if row in position] for history in histories]
    return np.asarray(vectors[kept]), cut, [position[row] for row in targets]
