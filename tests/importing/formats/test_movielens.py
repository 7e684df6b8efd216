"""MovieLens in its three forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.importing.import_data import import_data
from tests.support import public_data
from tests.support.importing import read_tables


def test_100k_is_latin_1_with_flags_for_genres(tmp_path: Path) -> None:
    source = public_data.movielens_100k(tmp_path / "in")
    interactions, items = read_tables([source], tmp_path / "out")
    assert interactions == [("196", "1", 881250949, 3.0), ("196", "2", 881250949, 4.0), ("22", "1", 878887116, 1.0)]
    assert items["1"]["title"] == "Misérables, Les (1995)" and items["1"]["categories"] == "Animation > Comedy"
    assert import_data([source], tmp_path / "two").metrics["read"]["equal_times"] == 2


def test_1m_has_double_colons(tmp_path: Path) -> None:
    interactions, items = read_tables([public_data.movielens_1m(tmp_path / "in")], tmp_path / "out")
    assert interactions == [("1", "1", 978300760, 5.0), ("2", "1", 978300761, 4.0)]
    assert items == {"1": {"title": "Cité des enfants perdus, La (1995)", "categories": "Adventure > Sci-Fi"}}


def test_10m_is_utf_8(tmp_path: Path) -> None:
    source = public_data.movielens_1m(tmp_path / "ml-10M100K")
    (source / "movies.dat").write_text("1::Cité, La::Drama\n", "utf-8")
    assert read_tables([source], tmp_path / "out")[1]["1"]["title"] == "Cité, La"


def test_csv_has_quoted_titles(tmp_path: Path) -> None:
    interactions, items = read_tables([public_data.movielens_csv(tmp_path / "in")], tmp_path / "out")
    assert interactions == [("1", "1", 1256677221, 4.5), ("1", "2", 1256677222, 0.5)]
    assert items["1"]["title"] == "American President, The (1995)"
    assert items["2"]["categories"] == ""


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"u.data": "196\t1\t3\t881250949\n196\t1\n"}, r"u.data, line 2: 2 fields where 4 are needed"),
        ({"ratings.dat": "1::1::five::978300760\n"}, "the rating 'five' is no number"),
        ({"ratings.csv": "userId,movieId,rating,when\n1,1,4.5,3\n"}, "column 'timestamp' is missing"),
        ({"u.data": "1\t1\t1\t1\n", "ratings.dat": "1::1::1::1\n"}, "could be MovieLens 100k or MovieLens 1M"),
    ],
)
def test_wrong_files(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        import_data([public_data.write(tmp_path / "in", files)], tmp_path / "out")
