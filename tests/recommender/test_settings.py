"""Which requests are refused, and when a search is exact."""

from __future__ import annotations

from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.recommender.settings import ListSettings, check_asked, check_history_items, known_rows, strip_queries

ROW_OF = {"007": 0, "A": 1}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"k": 0}, "must be positive"),
        ({"batch_size": 0}, "must be positive"),
        ({"search": "best"}, "--search 'best' is not known"),
        ({"k": 5, "beams": 4}, "--beams 4 is fewer than the 5 items"),
        ({"max_history": 0}, "--max-history 0 shows no item"),
    ],
)
def test_out_of_range(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ListSettings(**values).check()


def test_a_few_requests_are_searched_exactly() -> None:
    assert ListSettings().is_exact(300) and not ListSettings().is_exact(301)
    assert not ListSettings(beams=20).is_exact(1) and ListSettings(search="exact", beams=20).is_exact(10**6)
    assert not ListSettings(search="beam").is_exact(1)


def test_items_are_known_or_named() -> None:
    check_history_items([["A"], ["A", "007"]], ROW_OF)
    assert known_rows(["A", "007", "A"], ROW_OF) == [1, 0, 1]
    for histories, said in (
        ([["A"], []], "history is empty"),
        ([], "history is empty"),
        ([["7"]], "leading zeros"),
        ([[7]], "not text"),
    ):
        with pytest.raises(InputError, match=said):
            check_history_items(histories, ROW_OF)
    with pytest.raises(InputError) as caught:
        known_rows(["A", "B"], ROW_OF, "out.csv")
    assert str(caught.value) == (
        "out.csv, column 'item_id', row 2: items that the catalogue does not have: 'B'. Drop them from the list."
    )
    for asked in (([["A"], "A"], None), (["A"], None), (None, "red")):
        with pytest.raises(InputError, match="one request is given in the place of a list"):
            check_asked(*asked, ROW_OF)
    assert strip_queries([" red "]) == ["red"]
    for texts in ([], ["red", " "]):
        with pytest.raises(InputError, match="query is empty"):
            strip_queries(texts)
