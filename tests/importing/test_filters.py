"""Filters against naive loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.importing.filters import apply_filters, k_core, one_per_pair
from gti_cli.importing.gather import ImportedInteractions, InteractionLog
from gti_cli.importing.options import ImportOptions
from gti_cli.importing.times import SECONDS

ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3)), max_size=40)


def log_of(rows: list[tuple[int, int, int]]) -> ImportedInteractions:
    log = InteractionLog()
    for user, item, time in rows:
        log.add(user, item, time, rating=float(time))
    return log.columns()


def names(interactions: ImportedInteractions) -> list[tuple[str, str, int]]:
    return [
        (interactions.user_ids[user], interactions.item_ids[item], int(time))
        for user, item, time in zip(interactions.user, interactions.item, interactions.time, strict=True)
    ]


@given(ROWS, st.integers(1, 4))
def test_k_core_equals_taking_out_one_by_one(rows: list[tuple[int, int, int]], k: int) -> None:
    left = list(rows)
    while True:
        bad = next(
            (row for row in left if min(sum(r[0] == row[0] for r in left), sum(r[1] == row[1] for r in left)) < k), None
        )
        if bad is None:
            break
        left.remove(bad)
    data = log_of(rows)
    kept = data.rows(k_core(data.user, data.item, k))
    assert sorted(names(kept)) == sorted((str(u), str(i), t) for u, i, t in left)


@given(ROWS, st.booleans())
def test_one_interaction_of_each_pair(rows: list[tuple[int, int, int]], last: bool) -> None:
    data = log_of(rows)
    kept = np.flatnonzero(one_per_pair(data, last=last)).tolist()
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for number, (user, item, time) in enumerate(rows):
        place = (time, number)
        if (user, item) not in best or (place > best[user, item]) == last:
            best[user, item] = place
    assert kept == sorted(number for _, number in best.values())


def test_filters_come_in_a_fixed_order_and_count_what_goes() -> None:
    rows = [("a", "x", 10, 5.0), ("a", "x", 20, 4.0), ("a", "y", 30, 1.0), ("b", "x", 40, 3.0), ("b", "y", 90_000, 3.0)]
    log = InteractionLog()
    for row in rows:
        log.add(*row)
    log.add("c", "y", 50)  # without a rating
    options = ImportOptions(min_rating=3, since="10", until="1970-01-01", duplicates="last", k_core=1)
    steps = list(apply_filters(log.columns(), options, seed=0))
    assert [(step.reason.split(" (")[0], step.dropped) for step in steps] == [
        ("rating below 3, or none", 2),
        ("before 10", 0),
        ("after 1970-01-01", 1),
        ("the same user and item again", 1),
        ("outside of the 1-core", 0),
    ]
    assert names(steps[-1].interactions) == [("a", "x", 20), ("b", "x", 40)]


def test_users_are_drawn_by_the_seed() -> None:
    data = log_of([(user, item, 0) for user in range(20) for item in range(2)])
    options = ImportOptions(max_users=5)
    drawn = [set(names(next(apply_filters(data, options, seed)).interactions)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2] and all(len(rows) == 10 for rows in drawn)


def test_nothing_asked_nothing_left_out() -> None:
    assert list(apply_filters(log_of([(0, 0, 0)]), ImportOptions(), seed=0)) == []


@pytest.mark.parametrize("k", [1, 2])
def test_an_empty_log_has_an_empty_core(k: int) -> None:
    empty = InteractionLog().columns()
    assert empty.unit == SECONDS and len(k_core(empty.user, empty.item, k)) == 0


def test_a_bound_on_ratings_where_there_are_none() -> None:
    log = InteractionLog()
    log.add("u", "a", 1, float("nan"))
    with pytest.raises(InputError, match="no interaction has a rating"):
        list(apply_filters(log.columns(), ImportOptions(min_rating=4), 0))
