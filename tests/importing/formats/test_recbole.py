"""RecBole's atomic files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.importing.import_data import import_data
from tests.support import public_data
from tests.support.importing import read_tables


def test_ids_keep_their_zeros_and_fractions_of_seconds_are_kept(tmp_path: Path) -> None:
    interactions, items = read_tables([public_data.recbole(tmp_path / "in")], tmp_path / "out")
    assert interactions == [("7", "007", 881250949000, 3.0), ("7", "8", 881250950250, 4.0)]
    assert items["007"] == {"title": "Toy Story", "release_year": "1995", "categories": "Animation Comedy"}


def test_without_times_the_order_of_the_rows_counts(tmp_path: Path) -> None:
    public_data.write(tmp_path, {"x.inter": "user_id:token\titem_id:token\nu\tb\nu\ta\n"})
    manifest = import_data([tmp_path / "x.inter"], tmp_path / "out")
    assert manifest.details["time_unit"] == "positions" and "no timestamp" in manifest.details["notes"][0]
    interactions, _ = read_tables([tmp_path / "x.inter"], tmp_path / "again")
    assert [row[1] for row in sorted(interactions, key=lambda row: row[2])] == ["b", "a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user_id:token\ttimestamp:float\nu\t1\n", "column 'item_id' is missing"),
        ("user_id:token\titem_id:token\ttimestamp:float\nu\ti\tnoon\n", "the time 'noon' is no number"),
        ("user_id:token\titem_id:token\ttimestamp:float\nu\ti\n", "2 fields where 3 are needed"),
    ],
)
def test_wrong_files(tmp_path: Path, content: str, message: str) -> None:
    public_data.write(tmp_path, {"x.inter": content})
    with pytest.raises(InputError, match=message) as caught:
        import_data([tmp_path / "x.inter"], tmp_path / "out")
    assert "x.inter, line" in str(caught.value)
