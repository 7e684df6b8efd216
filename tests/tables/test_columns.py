"""Reading tables: three formats, every check, and bytes that do not change."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gti_cli import tables
from gti_cli.errors import InputError


def table(**columns: Any) -> pa.Table:
    return pa.table(columns)


def test_three_formats_read_the_same(tmp_path: Path) -> None:
    rows = table(item_id=["a", "b"], title=["Red, long", 'Say "hi"'])
    pq.write_table(rows, tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text('item_id,title\na,"Red, long"\nb,"Say ""hi"""\n')
    (tmp_path / "t.jsonl").write_text(
        '{"item_id": "a", "title": "Red, long"}\n{"item_id": "b", "title": "Say \\"hi\\""}\n'
    )
    for ending in ("parquet", "csv", "jsonl"):
        assert tables.read(tmp_path / f"t.{ending}").to_pydict() == rows.to_pydict()


def test_csv_ids_stay_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("item_id,timestamp\n007,3\n010,4\n")
    read = tables.read(tmp_path / "t.csv")
    assert tables.ids(read, "item_id", "t.csv") == ["007", "010"]
    assert tables.integers(read, "timestamp", "t.csv").tolist() == [3, 4]


def test_csv_texts_that_look_like_numbers_or_dates_stay_as_written(tmp_path: Path) -> None:
    written = {"brand": ["007", "4711.0"], "token": ["<2024-01-01>", "2024-01-01"], "categories": ["true", "1e3"]}
    rows = [",".join(column[row] for column in written.values()) for row in (0, 1)]
    (tmp_path / "t.csv").write_text("\ufeff" + ",".join(written) + "\n" + "\n".join(rows) + "\n", encoding="utf-8")
    read = tables.read(tmp_path / "t.csv")
    assert {name: tables.strings(read, name, "t.csv") for name in written} == written


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.parquet", None, "no such file"),
        ("t.parquet", b"PAR1 and no more", "cannot be read as parquet"),
        ("t.jsonl", b'{"item_id": "a"', "cannot be read as jsonl"),
        ("t.csv", b"item_id,title\na\n", "cannot be read as csv"),
        ("t.xlsx", b"x", "ending '.xlsx' is not known"),
        ("t.csv", b"other\n1\n", "column 'item_id' is missing \\(the table has other\\)"),
        ("t.csv", b"item_id\n", "no rows"),
    ],
)
def test_unreadable_tables(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        tables.read(tmp_path / name, ["item_id"])
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_truncated_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(table(item_id=["a"] * 100), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read as parquet"):
        tables.read(path)


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("item_id,title,title\na,x,y\n")
    pq.write_table(pa.table([["a"], ["x"], ["y"]], ["item_id", "title", "title"]), tmp_path / "t.parquet")
    for name, skip in (("t.csv", []), ("t.parquet", []), ("t.parquet", ["embedding"])):
        with pytest.raises(InputError, match="column 'title' occurs more than once"):
            tables.read(tmp_path / name, ["item_id"], skip=skip)


def test_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder"):
        tables.read(tmp_path)


def test_a_token_may_be_white_space() -> None:
    assert tables.ids(pa.table({"token": ["a", "  "]}), "token", "t.csv") == ["a", "  "]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", None], "row 2: the id is missing"),
        (["a", ""], "row 2: the id is missing"),
        (["a", "b c", " \t"], r"row 3: the id ' \\t' is white space alone"),
        (["a", "b", "a"], r"row 3: duplicate id 'a' \(first in row 1\)"),
        ([0.5, 1.5], "row 1: the id 0.5 is no whole number"),
        ([[1], [2]], "strings or integers, not list"),
    ],
)
def test_bad_ids(values: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tables.ids(table(item_id=values), "item_id", "items.parquet", unique=True)


def test_ids_of_all_allowed_kinds() -> None:
    assert tables.ids(table(x=[3, 1]), "x", "t") == ["3", "1"]
    assert tables.ids(pa.table({"x": pa.array(["a", "a"]).dictionary_encode()}), "x", "t") == ["a", "a"]


def test_strings() -> None:
    read = table(x=[" a ", None], y=[["Dresses", "Evening"], None], z=[1.5, 2.0])
    assert tables.strings(read, "x", "t") == ["a", ""]
    assert tables.strings(read, "y", "t") == ["Dresses > Evening", ""]
    nested = table(y=[[["Shoes", None], None, ["Boots"]], [], None])
    assert tables.strings(nested, "y", "t") == ["Shoes > Boots", "", ""]
    assert tables.strings(table(y=[["A", None, "B"]]), "y", "t") == ["A > B"]
    assert tables.strings(read, "z", "t") == ["1.5", "2"]
    with pytest.raises(InputError, match="must be text, not struct"):
        tables.strings(table(x=[{"a": 1}]), "x", "t")


def test_integers_from_floats() -> None:
    assert tables.integers(table(f=[2.0, 3.0]), "f", "t").tolist() == [2, 3]


def test_times_are_no_integers() -> None:
    with pytest.raises(InputError, match="must be numbers, not timestamp"):
        tables.integers(table(t=[datetime(2024, 1, 2)]), "t", "t")


@pytest.mark.parametrize("values", [pa.array([2**63 - 1, 2**63], pa.uint64()), pa.array([0.0, 1e19])])
def test_numbers_beyond_64_bits(values: pa.Array) -> None:
    with pytest.raises(InputError, match=r"row 2: .* does not fit in 64 bits"):
        tables.integers(table(t=values), "t", "t")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, None], "row 2: the value is missing"),
        ([1.0, 1.5], "row 2: 1.5 is no whole"),
        (["1", "x"], "row 2: must be numbers, not the text 'x'"),
    ],
)
def test_bad_integers(values: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tables.integers(table(t=values), "t", "t")


def test_written_bytes_do_not_change(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tables.write(tmp_path / f"{name}.parquet", {"item_id": ["x"], "codes": [[1, 2]]})
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["a.parquet", "b.parquet"]


@pytest.mark.parametrize("kind", [list, set, dict.fromkeys])
def test_items_without_a_semantic_id_are_named_once_with_their_first_row(kind: Any) -> None:
    catalogue = kind(["a", "b"])
    tables.columns.refuse_unknown_items(["b", "a", "b"], catalogue, "log.csv", "rows")
    with pytest.raises(InputError) as raised:
        tables.columns.refuse_unknown_items(["a", "x", "b", "x", "y"], catalogue, "log.csv", "interactions")
    assert str(raised.value).startswith("log.csv, column 'item_id', row 2: items without a semantic ID: 'x', 'y'. Drop")
    assert "drop these interactions" in raised.value.remedy
