"""``--columns``: what is no list of names is refused, and each table is renamed in so far as it has the columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.sources.renaming import Renaming, parse_pairs


def test_pairs_of_names() -> None:
    assert parse_pairs("user_id = reviewerID,item_id=asin") == {"user_id": "reviewerID", "item_id": "asin"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("user_id", "'user_id' is no pair of names"),
        ("user_id=", "'user_id=' is no pair of names"),
        ("user_id=a,,item_id=b", "'' is no pair of names"),
        ("user_id=a,user_id=b", "names 'user_id' twice"),
        ("user_id=a,item_id=a", "names 'a' twice"),
        ("usr_id=a", "names 'usr_id', which no table of gti has. On the left of '=' use item_id, title"),
    ],
)
def test_other_texts_are_refused(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Renaming(text)


def write(path: Path, columns: dict[str, list[object]]) -> Path:
    tables.write(path, columns)
    return path


def test_a_table_gets_our_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "t.parquet", {"asin": ["a"], "title": ["Mr"], "name": ["hat"], "price": [3]})
    table = tables.read(tables.locate(path, "item_id=asin,title=name"), ["item_id", "title"])
    assert table.to_pydict() == {"item_id": ["a"], "title": ["hat"], "price": [3]}
    assert "columns that give way because of --columns: 'title' ('name' is read for it)" in capsys.readouterr().err


def test_names_can_be_exchanged(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"user_id": ["i"], "item_id": ["u"]})
    table = tables.read(tables.locate(path, "user_id=item_id,item_id=user_id"))
    assert table.to_pydict() == {"item_id": ["i"], "user_id": ["u"]}


def test_an_unknown_column_is_refused_with_those_that_are_there(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"asin": ["a"], "name": ["hat"]})
    with pytest.raises(InputError, match=r"names 'titel', and there is no such column\. The columns are asin, name"):
        tables.read(tables.locate(path, "item_id=asin,title=titel"))
    with pytest.raises(InputError, match=r"t.parquet: column 'item_id' is missing .* --columns item_id=NAME"):
        tables.read(path, ["item_id"])


def test_of_two_tables_each_is_renamed_in_so_far_as_it_has_the_column(tmp_path: Path) -> None:
    first = write(tmp_path / "1.parquet", {"reviewer": ["u"], "item_id": ["a"]})
    second = write(tmp_path / "2.parquet", {"q": ["hats"], "item_id": ["a"]})
    places = tables.locate_all([first, None, second], "user_id=reviewer,query=q")
    assert places[1] is None
    assert tables.read(places[0] or "").column_names == ["user_id", "item_id"]
    assert tables.read(places[2] or "").column_names == ["query", "item_id"]
    places = tables.locate_all([first, second], "user_id=reviewer,query=qq")
    tables.read(places[0] or "")
    with pytest.raises(InputError, match=r"names 'qq', .* reviewer, item_id \(.*1.parquet\); q, item_id"):
        tables.read(places[1] or "")


def test_names_without_a_table_are_refused() -> None:
    with pytest.raises(InputError, match="--columns has no effect here"):
        tables.locate_all([None, None], "item_id=asin")


def test_numbers_of_a_csv_are_found_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("who,what,when,good\n007,08,1400000000,2\n8,9,1500000000,\n")
    place = tables.locate(tmp_path / "t.csv", "user_id=who,item_id=what,timestamp=when,relevance=good")
    table = tables.read(place)
    assert table.to_pydict() == {
        "user_id": ["007", "8"],
        "item_id": ["08", "9"],
        "timestamp": [1_400_000_000, 1_500_000_000],
        "relevance": [2, None],
    }


def test_errors_name_the_column_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"asin": ["a", ""], "price": [1.5, 2.5]})
    place = tables.locate(path, "item_id=asin,title=price")
    table = tables.read(place)
    explained = tables.in_terms_of_the_file(tables.ids)
    with pytest.raises(InputError, match=r"t.parquet, column 'asin', row 2: the id is missing"):
        explained(table, "item_id", place)
    with pytest.raises(InputError, match=r"column 'asin', row 2"):  # once is enough
        tables.in_terms_of_the_file(explained)(table, "item_id", place)
