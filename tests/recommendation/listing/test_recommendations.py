"""Lists of recommendations: ranks begin anew with each list, and rows become ids and titles."""

from __future__ import annotations

import numpy as np

from gti_cli.decoding.ranked_items import ItemLists, RankedItems
from gti_cli.recommendation.listing.recommendations import ListedItems, Recommendation
from gti_cli.tables.arrays.names import Names


def made(retriever_scores: list[float] | None = None) -> ListedItems:
    lists = ItemLists.of([RankedItems([2, 0], [-1.0, -2.5]), RankedItems([], []), RankedItems([1], [-0.5])])
    proven = np.asarray([True, True, False])
    users, items, titles = (Names.of(names) for names in (["u", "v", "w"], ["a", "b", "c"], ["A", "", "C"]))
    given = None if retriever_scores is None else np.asarray(retriever_scores)
    return ListedItems(users, lists, proven, items, titles, given)


def test_ranks_ids_and_titles() -> None:
    expected = [
        Recommendation("u", 1, "c", "C", -1.0, True),
        Recommendation("u", 2, "a", "A", -2.5, True),
        Recommendation("w", 1, "b", "", -0.5, False),
    ]
    assert list(made()) == expected and len(made()) == 3 and made()[-1] == expected[2] and made()[1:] == expected[1:]
    assert made().never_trained_on is None
    assert {name: column.to_pylist() for name, column in made().columns().items()} == {
        name: [getattr(line, name) for line in expected] for name in vars(expected[0]) if name != "retriever_score"
    }


def test_a_score_of_the_retriever_may_be_missing() -> None:
    found = made([0.5, float("nan"), 2.0])
    assert [line.retriever_score for line in found] == [0.5, None, 2.0]
    assert found.columns()["retriever_score"].to_pylist() == [0.5, None, 2.0]
