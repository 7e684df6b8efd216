"""Ranks and lists from sparse scores, against dense ones."""

from __future__ import annotations

import numpy as np
import pytest

from gti_cli.baselines.base import target_ranks
from gti_cli.baselines.item_knn import ItemKNN
from gti_cli.baselines.ranking.sparse_scores import sparse_target_ranks, sparse_top_columns, without_seen
from gti_cli.baselines.ranking.top_columns import top_columns
from tests.support.baselines import ITEMS, ROW_OF, random_train


@pytest.mark.parametrize("filter_seen", [False, True])
def test_they_equal_those_of_dense_scores(filter_seen: bool) -> None:
    rng = np.random.default_rng(4)
    histories = [rng.integers(0, ITEMS, 1 + n % 6).tolist() for n in range(200)]
    targets = rng.integers(0, ITEMS, 200)
    model = ItemKNN(random_train(), ROW_OF)
    dense = model.scores(histories)
    expected = target_ranks(dense, histories, targets.tolist(), filter_seen=filter_seen)  # seen items are -inf now
    scores = model.sparse_scores(histories)
    if filter_seen:
        scores = without_seen(scores, histories)
    found = sparse_target_ranks(scores, targets)
    assert (found.ahead == expected.ahead).all() and (found.ties == expected.ties).all()
    assert (found.ahead < 0).any() and (found.ahead > 0).any() and (found.ties > 1).any()
    for k in (1, 4, ITEMS + 2):
        assert sparse_top_columns(scores, k).tolist() == top_columns(dense, k).tolist()
