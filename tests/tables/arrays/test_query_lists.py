"""Queries as arrays, against lists of queries."""

from __future__ import annotations

import numpy as np
import pytest

from gti_cli.tables.arrays.query_lists import GOOD, MAYBE, NO, Query, QueryLists

QUERIES = [Query("q", "red", {"a": 2, "b": 1}), Query("r", "blue", {}), Query("s", "hat", {"b": 2, "c": 0, "a": 2})]


def test_they_are_the_queries() -> None:
    found = QueryLists.of(QUERIES)
    assert list(found) == QUERIES and found[-1] == QUERIES[2] and found == QUERIES and QueryLists.of(found) is found
    assert found[1:] == QUERIES[1:] and len(found[:0]) == 0 and found[2].items(MAYBE) == ["b", "a"]
    assert found[1:].places().tolist() == [2, 3, 4] and found[1:].owners(found[1:].places()).tolist() == [2, 2, 2]


@pytest.mark.parametrize("chosen", [[0, 1, 2], [2, 0], [1], []])
def test_some_of_them_and_how_many_items_have_a_grade(chosen: list[int]) -> None:
    found = QueryLists.of([Query("z", "z", {"c": 2}), *QUERIES])[1:].take(np.asarray(chosen, dtype=np.int64))
    assert found == [QUERIES[number] for number in chosen]
    for grade in (NO, MAYBE, GOOD):
        expected = [list(QUERIES[number].relevance.values()).count(grade) for number in chosen]
        assert found.counts(grade).tolist() == expected


def test_items_are_taken_out() -> None:
    assert list(QueryLists.of(QUERIES)[::2].without({"b", "x"})) == [
        Query("q", "red", {"a": 2}),
        Query("s", "hat", {"c": 0, "a": 2}),
    ]
