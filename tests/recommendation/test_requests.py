"""Requests of `gti recommend`: three sources, of which exactly one is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.recommendation.requests import RecommendOptions, read_requests
from gti_cli.tables.equal_times import InteractionOptions

ROW_OF = {f"i{n}": n for n in range(4)}


@pytest.mark.parametrize(
    ("histories", "queries", "table", "message"),
    [
        (None, None, None, "not said for whom"),
        ({"u": ["i1"]}, {"q": "red"}, None, "a history and a query are given"),
        ({"u": ["i1"]}, None, "x.parquet", "a history and a table are given"),
    ],
)
def test_exactly_one_source_is_given(histories: Any, queries: Any, table: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_requests(histories, queries, table, ROW_OF)


def test_histories_keep_their_order() -> None:
    requests = read_requests({"b": ("i2", "i0", "i2"), "a": ["i3"]}, None, None, ROW_OF)
    assert requests.histories == {"b": ["i2", "i0", "i2"], "a": ["i3"]} and requests.queries is None
    assert requests.names == ["b", "a"]


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        ({}, "history is empty"),
        ({"u": []}, "history is empty"),
        ({"u": ["i1", "new"]}, "without a semantic ID: 'new'"),
        ({"u": ["i1.0"]}, "'i1.0'; all differ by a trailing '.0' alone"),
    ],
)
def test_bad_histories(histories: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_requests(histories, None, None, ROW_OF)


def test_queries_are_stripped_and_not_empty() -> None:
    requests = read_requests(None, {"q": " red dress\n"}, None, ROW_OF)
    assert requests.queries == {"q": "red dress"} and requests.histories is None and requests.names == ["q"]
    for queries in ({}, {"q": "red", "r": " "}):
        with pytest.raises(InputError, match="query is empty"):
            read_requests(None, queries, None, ROW_OF)


def test_a_table_of_interactions_is_read_by_time(tmp_path: Path) -> None:
    path = tmp_path / "interactions.parquet"
    columns = {"user_id": ["u", "v", "u"], "item_id": ["i1", "i2", "i0"], "timestamp": [5, 1, 3]}
    tables.write(path, columns)
    requests = read_requests(None, None, path, ROW_OF)
    assert requests.histories == {"u": ["i0", "i1"], "v": ["i2"]} and requests.queries is None


def test_a_table_of_queries_is_known_by_its_column(tmp_path: Path) -> None:
    path = tmp_path / "queries.parquet"
    tables.write(path, {"query": ["red ", "blue", "red"], "item_id": ["i0", "i1", "i2"]})
    assert read_requests(None, None, path, ROW_OF).queries == {"red": "red", "blue": "blue"}
    tables.write(path, {"query": ["red", "blue"], "query_id": ["b", "a"]})
    assert read_requests(None, None, path, ROW_OF).queries == {"b": "red", "a": "blue"}
    tables.write(path, {"query": ["red", " "], "query_id": ["b", "a"]})
    with pytest.raises(InputError, match="row 2: the query is empty"):
        read_requests(None, None, path, ROW_OF)
    tables.write(path, {"query": ["red", "blue"], "query_id": ["a", "a"]})
    with pytest.raises(InputError, match="row 2: the query 'a' reads 'blue' here and 'red' before"):
        read_requests(None, None, path, ROW_OF)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"k": 0}, "-k is 0"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"search": "best"}, "--search 'best'"),
        ({"k": 5, "beams": 4}, "--beams 4 is fewer than the 5 items"),
        ({"max_history": 0}, "--max-history 0"),
    ],
)
def test_options_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RecommendOptions(**values).check()
    RecommendOptions(k=5, beams=5, search="exact", max_history=1, batch_size=1).check()


def test_how_a_table_of_interactions_is_read(tmp_path: Path) -> None:
    path = tmp_path / "interactions.parquet"
    tables.write(path, {"user_id": ["u"] * 3, "item_id": ["i1", "i1", "i2"], "timestamp": [5, 5, 6]})
    drop, refuse = InteractionOptions(duplicates="drop"), InteractionOptions(ties="refuse")
    assert read_requests(None, None, path, ROW_OF).histories == {"u": ["i1", "i1", "i2"]}
    assert read_requests(None, None, path, ROW_OF, drop).histories == {"u": ["i1", "i2"]}
    tables.write(path, {"user_id": ["u"] * 2, "item_id": ["i1", "i2"], "timestamp": [5, 5]})
    with pytest.raises(InputError, match="the order of the file decides between 2 of 2 rows"):
        read_requests(None, None, path, ROW_OF, refuse)
    with pytest.raises(InputError, match="--ties is about a table of interactions"):
        read_requests({"u": ["i1"]}, None, None, ROW_OF, refuse)
