"""Amazon's collections: keys, literals, HTML, milliseconds, and tables without a header."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.importing.import_data import import_data
from tests.support import public_data
from tests.support.importing import read_tables


def test_2014_reads_json_reviews_and_literal_metadata(tmp_path: Path) -> None:
    interactions, items = read_tables([public_data.amazon_2014(tmp_path / "in")], tmp_path / "out")
    assert interactions == [
        ("A1", "0000031852", 1370000000, 5.0),
        ("A1", "B000000001", 1370000000, 2.0),
        ("A2", "0000031852", 1380000000, 4.0),
    ]
    assert items["0000031852"] == {
        "title": "Girls' Tutu & Wand",
        "description": "",
        "brand": "Acme",
        "categories": "Clothing > Girls",
    }
    assert items["B000000001"]["title"] == "" and items["B000000001"]["description"] == "It's soft"


def test_2018_takes_html_out_and_counts_what_is_repeated(tmp_path: Path) -> None:
    source = public_data.amazon_2018(tmp_path / "in")
    manifest = import_data([source], tmp_path / "out")
    interactions, items = read_tables([source], tmp_path / "again")
    assert interactions == [("A1", "B01", 1500000000, 5.0)] * 2
    assert items["B01"]["title"] == "Pen red 'fine'" and items["B01"]["categories"] == "Office > Pens"
    assert manifest.counts["items_named_again"] == 1 and manifest.counts["titles_with_html"] == 1
    assert manifest.metrics["read"]["repeated_rows"] == 1


def test_2023_joins_on_the_parent_and_keeps_milliseconds(tmp_path: Path) -> None:
    interactions, items = read_tables([public_data.amazon_2023(tmp_path / "in")], tmp_path / "out")
    assert interactions == [("U1", "P1", 1588687728923, 5.0), ("U1", "P2", 1588687728924, 1.0)]
    assert items["P1"] == {"title": "Soap", "brand": "Acme", "categories": "All Beauty"}
    assert items["P2"]["title"] == "P2"


def test_2023_also_as_a_table(tmp_path: Path) -> None:
    table = "user_id,parent_asin,rating,timestamp,history\nU1,P1,5.0,1588687728923,\nU1,P2,3.0,1588687728924,P1\n"
    public_data.write(tmp_path, {"Beauty.train.csv": table})
    interactions, _ = read_tables([tmp_path / "Beauty.train.csv"], tmp_path / "out")
    assert interactions == [("U1", "P1", 1588687728923, 5.0), ("U1", "P2", 1588687728924, 3.0)]


@pytest.mark.parametrize(
    "row",
    ["A2SUAM1J3GNN3B,0005119367,5.0,1395705600", "0005119367,A2SUAM1J3GNN3B,5.0,1395705600"],
)
def test_ratings_without_a_header_in_either_order(tmp_path: Path, row: str) -> None:
    public_data.write(tmp_path, {"ratings.csv": row + "\n"})
    interactions, items = read_tables([tmp_path / "ratings.csv"], tmp_path / "out")
    assert interactions == [("A2SUAM1J3GNN3B", "0005119367", 1395705600, 5.0)]
    assert items == {"0005119367": {"title": "0005119367"}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"reviewerID": "A", "unixReviewTime": 1}', r"'asin' is missing.*line 2|line 2.*'asin' is missing"),
        ('{"reviewerID": "A", "asin": "B", "unixReviewTime": "soon"}', "the time 'soon' is no number"),
        ('{"reviewerID": "A", "asin": ', "neither JSON nor a Python literal"),
        ('["A", "B"]', "no object"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    good = '{"reviewerID": "A", "asin": "B", "unixReviewTime": 1}\n'
    public_data.write(tmp_path, {"reviews.json": good + line + "\n"})
    with pytest.raises(InputError, match=message) as caught:
        import_data([tmp_path / "reviews.json"], tmp_path / "out")
    assert "line 2" in str(caught.value)
    assert not (tmp_path / "out" / "interactions.parquet").exists()
