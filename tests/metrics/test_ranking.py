"""The metrics against every order within a tie, user by user."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.metrics import ranking as metrics
from gti_cli.metrics.ranking import TargetRanks


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
    ranks = TargetRanks(np.asarray([ahead for ahead, _ in users]), np.asarray([ties for _, ties in users]))
    for function, gain in (
        (metrics.recall_at, lambda rank: 1.0),
        (metrics.ndcg_at, lambda rank: 1 / math.log2(1 + rank)),
        (metrics.reciprocal_rank, lambda rank: 1 / rank),
    ):
        naive = [expected(ahead, ties, k, gain) for ahead, ties in users]
        np.testing.assert_allclose(function(ranks, k), naive, atol=1e-12)


def test_by_hand() -> None:
    ranks = TargetRanks(np.asarray([0, 4, -1, 2]), np.asarray([1, 1, 1, 4]))
    values = metrics.per_user(ranks, [2, 5])
    assert values["recall@2"].tolist() == [1, 0, 0, 0]
    assert values["recall@5"].tolist() == [1, 1, 0, 0.75]  # ranks 3, 4, 5 of 3, 4, 5, 6
    assert values["precision@5"].tolist() == pytest.approx([1 / 5, 1 / 5, 0, 0.75 / 5])
    assert values["mrr"].tolist() == pytest.approx([1, 1 / 5, 0, (1 / 3 + 1 / 4 + 1 / 5) / 4])
    assert metrics.averages(values)["recall@5"] == pytest.approx(2.75 / 4)


def test_ranks_of_groups_are_joined_in_order() -> None:
    parts = [TargetRanks(np.asarray([0, -1]), np.asarray([1, 2])), TargetRanks(np.asarray([5]), np.asarray([3]))]
    joined = metrics.join_ranks(parts)
    assert (joined.ahead.tolist(), joined.ties.tolist()) == ([0, -1, 5], [1, 2, 3])


def test_lists_of_nobody_have_no_novelty() -> None:
    with np.errstate(all="raise"):
        assert metrics.list_metrics(np.full((2, 3), -1), [3], np.ones(4)) == {"coverage@3": 0.0, "novelty@3": 0.0}


def test_coverage_and_novelty_by_loops() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 5, 12).astype(float)
    lists = [rng.permutation(12)[: n % 6] for n in range(9)]  # some users have short lists, or none
    table = np.full((9, 6), -1)
    for user, rows in enumerate(lists):
        table[user, : len(rows)] = rows
    found = metrics.list_metrics(table, [1, 4], counts)
    for k in (1, 4):
        seen = {int(row) for rows in lists for row in rows[:k]}
        bits = [
            np.mean([-math.log2((counts[row] + 1) / (counts.sum() + 12)) for row in rows[:k]])
            for rows in lists
            if len(rows)
        ]
        assert found[f"coverage@{k}"] == len(seen) / 12
        assert found[f"novelty@{k}"] == pytest.approx(np.mean(bits))
