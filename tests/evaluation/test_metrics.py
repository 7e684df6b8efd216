"""The metrics against every order within a tie, user by user."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.evaluation import metrics
from gti_cli.evaluation.metrics import Ranks


def expected(ahead: int, ties: int, k: int, gain) -> float:
    """Mean gain of the target over all orders of its tie, by listing the orders."""
    if ahead < 0:
        return 0.0
    target = 0
    orders = list(itertools.permutations(range(ties)))
    ranks = [ahead + order.index(target) + 1 for order in orders]
    return sum(gain(rank) if rank <= k else 0.0 for rank in ranks) / len(orders)


@given(st.lists(st.tuples(st.integers(-1, 12), st.integers(1, 5)), min_size=1, max_size=12), st.integers(1, 12))
def test_equal_to_the_mean_over_all_orders(users: list[tuple[int, int]], k: int) -> None:
    ranks = Ranks(np.asarray([ahead for ahead, _ in users]), np.asarray([ties for _, ties in users]))
    for function, gain in (
        (metrics.recall_at, lambda rank: 1.0),
        (metrics.ndcg_at, lambda rank: 1 / math.log2(1 + rank)),
        (metrics.reciprocal_rank, lambda rank: 1 / rank),
    ):
        naive = [expected(ahead, ties, k, gain) for ahead, ties in users]
        np.testing.assert_allclose(function(ranks, k), naive, atol=1e-12)


def test_by_hand() -> None:
    ranks = Ranks(np.asarray([0, 4, -1, 2]), np.asarray([1, 1, 1, 4]))
    values = metrics.per_user(ranks, [2, 5])
    assert values["recall@2"].tolist() == [1, 0, 0, 0]
    assert values["recall@5"].tolist() == [1, 1, 0, 0.75]  # ranks 3, 4, 5 of 3, 4, 5, 6
    assert values["mrr"].tolist() == pytest.approx([1, 1 / 5, 0, (1 / 3 + 1 / 4 + 1 / 5) / 4])
    assert metrics.averages(values)["recall@5"] == pytest.approx(2.75 / 4)


@given(st.lists(st.sampled_from([-math.inf, 0.0, 1.0, 2.0]), min_size=1, max_size=12), st.data())
def test_places_from_scores(scores: list[float], data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(scores) - 1))
    ahead, ties = metrics.ranks_from_scores(np.asarray(scores), target)
    if scores[target] == -math.inf:
        assert (ahead, ties) == (-1, 1)
    else:
        order = sorted(scores, reverse=True)
        assert ahead == order.index(scores[target])
        assert ties == order.count(scores[target])
