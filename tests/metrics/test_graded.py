"""Graded metrics against their definitions, averaged over all orders within ties, and against scikit-learn's NDCG."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from gti_cli.metrics.graded import Group, as_columns, count_grades, query_metrics

KS = (1, 2, 3, 5, 8)


def of_one_order(grades: list[int], judged: list[int], k: int) -> dict[str, float]:
    """Every metric of one list without ties."""
    first = grades[:k]
    best = sorted(judged, reverse=True)[:k]
    dcg, ideal = (sum((2**g - 1) / math.log2(rank + 1) for rank, g in enumerate(x, start=1)) for x in (first, best))
    ranks = [rank for rank, grade in enumerate(first, start=1) if grade == 2]
    return {
        f"recall@{k}": len(ranks) / judged.count(2),
        f"ndcg@{k}": dcg / ideal,
        f"hit_rate@{k}": float(bool(ranks)),
        f"precision_good@{k}": len(ranks) / k,
        f"precision_maybe@{k}": sum(grade >= 1 for grade in first) / k,
        "mrr": 1 / ranks[0] if ranks else 0.0,
    }


def over_all_orders(groups: list[list[int]], judged: list[int], k: int) -> dict[str, float]:
    found = [
        of_one_order(list(itertools.chain(*order)), judged, k)
        for order in itertools.product(*(itertools.permutations(group) for group in groups))
    ]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


GROUPS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(GROUPS, st.lists(st.integers(0, 2), max_size=3), st.sampled_from(KS))
def test_every_metric_is_its_mean_over_the_orders(groups: list[list[int]], unlisted: list[int], k: int) -> None:
    judged = [*itertools.chain(*groups), *unlisted, 2]  # one good item that the list does not have
    made = [Group(len(group), group.count(2), group.count(1)) for group in groups]
    found = query_metrics(made, judged.count(2), judged.count(1), [k])
    assert found == pytest.approx(over_all_orders(groups, judged, k), abs=1e-12)


@pytest.mark.parametrize("k", KS)
@pytest.mark.parametrize(
    "groups",
    [
        [[2], [1, 0], [2, 1]],
        [[0, 1], [2, 0, 0], [2]],  # the cut at 3 goes through the group of the first good item
        [[1], [0], [2, 2, 0, 1]],
        [[0, 0, 1], [1]],
    ],
)
def test_chosen_ties(groups: list[list[int]], k: int) -> None:
    judged = [*itertools.chain(*groups), 1, 2]
    made = [Group(len(group), group.count(2), group.count(1)) for group in groups]
    found = query_metrics(made, judged.count(2), judged.count(1), [k])
    assert found == pytest.approx(over_all_orders(groups, judged, k), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_ndcg_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grades, scores = rng.integers(0, 3, 30), rng.integers(0, 9, 30)  # scores with many ties, which it averages too
    grades[0] = 2
    groups = [np.flatnonzero(scores == score).tolist() for score in sorted(set(scores.tolist()), reverse=True)]
    found = query_metrics(
        count_grades(groups, dict(enumerate(grades.tolist()))), int((grades == 2).sum()), int((grades == 1).sum()), KS
    )
    for k in KS:
        assert found[f"ndcg@{k}"] == pytest.approx(ndcg_score([2.0**grades - 1], [scores], k=k))


def test_nothing_listed() -> None:
    assert set(query_metrics([], 2, 1, [5]).values()) == {0.0}


def test_the_reciprocal_rank_goes_to_the_largest_cut_off() -> None:
    assert query_metrics([Group(2, 0, 0), Group(1, 1, 0)], 1, 0, [3, 1])["mrr"] == pytest.approx(1 / 3)


def test_queries_become_columns() -> None:
    columns = as_columns([{"mrr": 0.5, "recall@1": 1.0}])
    assert {name: values.tolist() for name, values in columns.items()} == {"mrr": [0.5], "recall@1": [1.0]}
    assert as_columns([{"mrr": 0.5}, {"mrr": 0.25}])["mrr"].tolist() == [0.5, 0.25]


def test_rows_that_nobody_judged_do_not_fit() -> None:
    assert count_grades([[0, 1, 2], [3]], {0: 2, 1: 1}) == [Group(3, 1, 1), Group(1, 0, 0)]
