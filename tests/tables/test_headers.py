"""Names of columns with spaces, quotes and byte order marks around them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.headers import clean_name, clean_names, stored_name


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("item_id", "item_id"),
        (" item_id\t", "item_id"),
        ('"item_id"', "item_id"),
        (' "item_id"', "item_id"),
        ("' item_id '", "item_id"),
        ("\ufeffitem_id", "item_id"),
        ('\ufeff"item_id"', "item_id"),
        ("item id", "item id"),
        ("it'", "it'"),
        (" ", " "),
        ("", ""),
    ],
)
def test_what_surrounds_a_name_is_no_part_of_it(name: str, clean: str) -> None:
    assert clean_name(name) == clean


def test_names_that_become_one_are_refused() -> None:
    with pytest.raises(InputError, match=r"t\.csv: the columns 'a', ' a ' differ by spaces or quotes"):
        clean_names(["a", "b", " a "], "t.csv")
    assert clean_names(["a", "a"], "t.csv") == ["a", "a"]  # a name that is there twice has an error of its own


def test_the_name_as_it_is_stored() -> None:
    assert stored_name(["x", " embedding"], "embedding") == " embedding"
    assert stored_name(["x"], "embedding") == "embedding"


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_every_format_finds_such_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str) -> None:
    path = tmp_path / f"t.{ending}"
    if ending == "csv":
        path.write_text('item_id , "title", timestamp\n007,Hat,5\n', "utf-8")
    elif ending == "jsonl":
        path.write_text('{"item_id ": "007", "\\"title\\"": "Hat", " timestamp": 5}\n', "utf-8")
    else:
        pq.write_table(pa.table({"item_id ": ["007"], '"title"': ["Hat"], " timestamp": [5]}), path)
    for _ in range(2):  # the remark comes once
        read = tables.read(path, ["item_id", "title", "timestamp"], skip=["embedding"])
    assert read.to_pydict() == {"item_id": ["007"], "title": ["Hat"], "timestamp": [5]}
    assert tables.column_names(path, read) == ["item_id", "title", "timestamp"]
    assert capsys.readouterr().err.count("around the names of columns were removed") == 1


def test_skipped_columns_are_found_by_their_clean_name(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"item_id": ["a"], " embedding": [[1.0]]}), path)
    read = tables.read(path, ["item_id"], skip=["embedding"])
    assert read.column_names == ["item_id"]
    assert tables.column_names(path, read) == ["item_id", "embedding"]
