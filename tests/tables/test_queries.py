"""Queries tables: what is read, how they are divided, and what is refused."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.queries import GOOD, MAYBE, Queries, read_queries

ITEMS = {f"i{n}" for n in range(9)}


def read(folder: Path, text: str) -> Queries:
    path = folder / "queries.csv"
    path.write_text(text)
    return read_queries(path, ITEMS)


def everything(found: Queries) -> list[Any]:
    return [*found.train, *found.valid, *found.test]


def test_reads_grades_by_query_and_keeps_the_order(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "query,item_id,relevance,query_id,split\n"
        "red dress,i3,2,q1,train\nblue coat,i1,0,q2,test\nred dress,i0,1,q1,train\nred dress,i3,2,q1,train\n"
        "red dress,i2,2,q1,train\ngreen hat,i4,2,q3,valid\n",
    )
    (first,) = found.train
    assert (first.query_id, first.text, first.relevance) == ("q1", "red dress", {"i3": 2, "i0": 1, "i2": 2})
    assert first.items() == first.items(GOOD) == ["i3", "i2"] and first.items(MAYBE) == ["i3", "i0", "i2"]
    assert [query.query_id for query in found.test] == ["q2"] and found.part("valid") == found.valid
    assert found.counts == {
        "queries": 3,
        "query_items": 5,
        "queries_train": 1,
        "queries_valid": 1,
        "queries_test": 1,
        "queries_without_good": 1,
    }


def test_sample_shop() -> None:
    folder = Path(__file__).parents[2] / "sample_data"
    items = set(tables.read(folder / "items.parquet").column("item_id").to_pylist())
    found = read_queries(folder / "queries.parquet", items)
    table = tables.read(folder / "queries.parquet")
    assert found.counts["queries"] == len(set(table.column("query_id").to_pylist()))
    assert found.counts["query_items"] == table.num_rows
    train = {
        q for q, s in zip(*(table.column(c).to_pylist() for c in ("query_id", "split")), strict=True) if s == "train"
    }
    assert {query.query_id for query in found.train} == train


def test_without_a_split_column_the_words_decide(tmp_path: Path) -> None:
    rows = [f"query number {n},i{n % 9},2" for n in range(2000)]
    found = read(tmp_path, "\n".join(["query,item_id,relevance", *rows]))
    shares = {part: found.counts[f"queries_{part}"] / 2000 for part in ("train", "valid", "test")}
    assert shares == pytest.approx({"train": 0.8, "valid": 0.1, "test": 0.1}, abs=0.03)
    assert found.train[0].query_id == found.train[0].text
    # Fewer rows, in another order and another spelling: everybody stays where they were.
    where = {q.text.upper(): part for part in ("train", "valid", "test") for q in found.part(part)}
    rows = [f"QUERY   NUMBER {n},i0,1" for n in range(1999, 1000, -1)]
    again = read(tmp_path, "\n".join(["query,item_id,relevance", *rows]))
    for part in ("train", "valid", "test"):
        assert {where[" ".join(q.text.split())] for q in again.part(part)} == {part}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 2)), min_size=1, max_size=40))
def test_equals_a_plain_count(rows: list[tuple[int, int, int]]) -> None:
    import tempfile

    grades = {(q, i): g for q, i, g in rows}
    unique = [(q, i, grades[q, i]) for q, i, _ in rows]
    text = "\n".join(["query,item_id,relevance,query_id", *(f"words {q},i{i},{g},{q}" for q, i, g in unique)])
    with tempfile.TemporaryDirectory() as folder:
        found = read(Path(folder), text)
    assert {(int(q.query_id), int(i[1:])): g for q in everything(found) for i, g in q.relevance.items()} == grades
    by_query = Counter(q for q, _ in grades)
    assert {int(q.query_id): len(q.relevance) for q in everything(found)} == by_query


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("query,item_id\na,i0\n", "column 'relevance' is missing"),
        ("query,item_id,relevance\na,i0,2\n,i1,2\n", "column 'query', row 2: the query is empty"),
        ("query,item_id,relevance\na,i0,2\na,i1,3\n", "column 'relevance', row 2: 3 is no grade"),
        ("query,item_id,relevance\na,i0,2\na,i1,\n", "column 'relevance', row 2: the value is missing"),
        ("query,item_id,relevance\na,i0,2\na,x,1\n", "column 'item_id', row 2: items without a semantic ID: 'x'"),
        ("query,item_id,relevance\na,quite another,2\n", "rop these rows"),
        ("query,item_id,relevance,split\na,i0,2,dev\n", "column 'split', row 1: 'dev' is no split"),
        (
            "query,item_id,relevance,split\na,i0,2,test\na,i1,2,train\n",
            "row 2: the query is marked train here and test",
        ),
        ("query,item_id,relevance\na,i0,2\na,i0,1\n", "row 2: item 'i0' has relevance 1 here and 2 before"),
        ("query,item_id,relevance,query_id\na,i0,2,1\nb,i1,1,1\n", "row 2: the query reads 'b' here and 'a' before"),
    ],
)
def test_refuses(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, text)
    assert message in str(raised.value) and "queries.csv" in str(raised.value) and raised.value.remedy


@pytest.mark.parametrize("column", ["query", "item_id", "query_id", "split"])
def test_a_column_of_objects_is_named_with_its_file(tmp_path: Path, column: str) -> None:
    columns: dict[str, Any] = {
        "query": ["a"],
        "item_id": ["i1"],
        "relevance": [2],
        "query_id": ["1"],
        "split": ["test"],
    }
    tables.write(tmp_path / "queries.parquet", {**columns, column: [{"a": 1}]})
    with pytest.raises(InputError, match=f"queries.parquet, column '{column}'"):
        read_queries(tmp_path / "queries.parquet", ITEMS)


def test_a_query_is_always_in_the_part_that_its_sha256_says(tmp_path: Path) -> None:
    words = [f"Red  {n}" for n in range(40)]
    found = read(tmp_path, "\n".join(["query,item_id,relevance", *(f"{text},i0,2" for text in words)]))
    for text in words:
        tenth = int(hashlib.sha256(f"red {text.split()[1]}".encode()).hexdigest()[:16], 16) % 10
        part = found.train if tenth < 8 else found.valid if tenth == 8 else found.test
        assert [query.text for query in part].count(text) == 1


def test_an_empty_part_is_refused(tmp_path: Path) -> None:
    found = read(tmp_path, "query,item_id,relevance,split\na,i0,2,train\n")
    with pytest.raises(InputError) as raised:
        found.part("test")
    assert "queries.csv: none of the 1 queries is for test. Mark some test in a column" in str(raised.value)


def test_columns_that_nothing_reads_are_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path, "query,item_id,relevance,clicks,price\nred dress,i3,2,7,9\n")
    read_queries(tmp_path / "queries.csv", ITEMS)
    assert capsys.readouterr().err.count("not read: columns 'clicks', 'price'") == 1
