"""Which requests are refused, and when a search is exact."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.recommender.settings import (
    ListSettings,
    check_cache,
    check_history_items,
    known_rows,
    one_request,
    strip_queries,
    take_requests,
)

ROW_OF = {"007": 0, "A": 1}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"k": 0}, "-k is 0"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"search": "best"}, "--search 'best' is not known"),
        ({"k": 5, "beams": 4}, "--beams 4 is fewer than the 5 items"),
        ({"max_history": 0}, "--max-history 0 shows no item"),
        ({"k": "3"}, "k '3' is no whole number. Write k=10."),
        ({"beams": 2.5}, "beams 2.5 is no whole number"),
        ({"batch_size": True}, "batch_size True is no whole number"),
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
        "out.csv, column 'item_id', row 2: items that the catalogue does not have: 'B'. "
        "Give item ids of the catalogue ('item_id'), or drop these."
    )
    for asked in (([["A"], "A"], None), (["A"], None), (None, "red")):
        with pytest.raises(InputError, match="one request is given in the place of a list"):
            take_requests(*asked, ROW_OF)
    assert strip_queries([" red "]) == ["red"]
    for texts in ([], ["red", " "]):
        with pytest.raises(InputError, match="query is empty"):
            strip_queries(texts)


def test_requests_may_be_any_iterable_and_are_said_where_they_are_none() -> None:
    words = (word for word in ["red "])
    assert take_requests((("A" for _ in range(2)) for _ in range(2)), None, ROW_OF) == ([["A", "A"]] * 2, None, 2)
    assert take_requests(None, words, ROW_OF) == (None, ["red "], 1)
    assert one_request(None) is None and one_request(iter(["A"])) == [["A"]]
    for histories, queries, said in (
        ({"u": ["A"]}, None, "histories {'u': ['A']} is no list"),
        ([["A"], 7], None, "a history 7 is no list"),
        ([[["A"]]], None, "item id ['A'] is not text"),
        ([["A", 10**999]], None, "item id 1000"),
        ([["A" * 9999]], None, "items without a semantic ID: 'AAA"),
        (None, [7], "query 7 is not text"),
    ):
        with pytest.raises(InputError, match=re.escape(said)) as caught:
            take_requests(histories, queries, ROW_OF)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 300
    with pytest.raises(InputError, match="a list of histories is given where one history is asked for"):
        one_request([["A"]])  # type: ignore[list-item]
    with pytest.raises(InputError, match="cannot answer queries"):
        take_requests(None, ["red"], ROW_OF, True)


def test_a_cache_is_a_number_of_bytes_for_a_checkpoint() -> None:
    check_cache(0, "blend", True)
    check_cache(1 << 20, "finetuned", False)
    for size, said in ((-1, "-1 is no number of bytes"), ("1 MB", "'1 MB' is no number"), (1, "'blend' is a blend")):
        with pytest.raises(InputError, match=said):
            check_cache(size, "blend", True)  # type: ignore[arg-type]
