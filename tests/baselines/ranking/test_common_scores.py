"""Ranks and lists from scores that all users share, against a row of scores for each user."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gti_cli.baselines.base import target_ranks
from gti_cli.baselines.ranking.common_scores import CommonOrder
from gti_cli.baselines.ranking.top_columns import top_columns

SCORES = hnp.arrays(np.float64, st.integers(4, 9), elements=st.sampled_from([-np.inf, 1, 2, 3]))
HISTORIES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=4)


@given(SCORES, HISTORIES, st.integers(0, 3), st.integers(1, 12), st.booleans())
def test_they_equal_those_of_dense_scores(
    scores: np.ndarray, histories: list[list[int]], target: int, k: int, filter_seen: bool
) -> None:
    targets = [(target + user) % len(scores) for user in range(len(histories))]
    dense = np.tile(scores, (len(histories), 1))
    expected = target_ranks(dense, histories, targets, filter_seen=filter_seen)  # seen items are -inf from here on
    order = CommonOrder(scores)
    found = order.target_ranks(histories, targets, filter_seen=filter_seen)
    assert found.ahead.tolist() == expected.ahead.tolist() and found.ties.tolist() == expected.ties.tolist()
    lists = order.lists(histories, filter_seen=filter_seen, k=k)
    assert lists.tolist() == top_columns(dense, k).tolist()
