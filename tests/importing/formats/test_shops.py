"""H&M, Yelp, Steam, KuaiRec, Vibrent."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.importing.import_data import import_data
from tests.support import public_data
from tests.support.importing import read_tables


def test_hm_keeps_leading_zeros(tmp_path: Path) -> None:
    interactions, items = read_tables([public_data.hm(tmp_path / "in")], tmp_path / "out")
    # 20 September 2018, midnight in UTC
    assert interactions == [("c1", "0108775015", 1537401600), ("c1", "0999999999", 1537488000)]
    assert items["0108775015"] == {
        "title": "Strap top",
        "description": "Jersey top, narrow straps.",
        "categories": "Ladieswear > Garment Upper body > Vest top",
        "colour": "Black",
    }
    assert items["0999999999"]["title"] == "0999999999"


def test_yelp(tmp_path: Path) -> None:
    interactions, items = read_tables([public_data.yelp(tmp_path / "in")], tmp_path / "out")
    assert interactions == [("u", "b", 1531001351, 3.0)]
    assert items == {"b": {"title": "Café Zoë", "categories": "Cafes > Food", "city": "Reno"}}


def test_steam_reads_literals_and_counts_games_without_an_id(tmp_path: Path) -> None:
    source = public_data.steam(tmp_path / "in")
    interactions, items = read_tables([source], tmp_path / "out")
    assert interactions == [("Chaos", "725280", 1513468800)]
    assert items == {"725280": {"title": "Lost Summoner", "categories": "Indie > RPG", "tags": "Casual"}}
    assert import_data([source], tmp_path / "two").counts["not_usable"] == {"games without an id": 1}


def test_kuairec_keeps_fractions_and_counts_rows_without_a_time(tmp_path: Path) -> None:
    source = public_data.kuairec(tmp_path / "in")
    interactions, items = read_tables([source], tmp_path / "out")
    assert interactions == [("0", "3649", 1593878903438, 1.27)]
    assert items["3649"]["title"] == "two lines"
    manifest = import_data([source], tmp_path / "two")
    assert manifest.counts["not_usable"] == {"rows without a time": 1}
    assert "small_matrix.csv" in manifest.details["notes"][0]


def test_vibrent_has_semicolons_and_lists(tmp_path: Path) -> None:
    interactions, items = read_tables([public_data.vibrent(tmp_path / "in")], tmp_path / "out")
    assert interactions == [("c1", "outfit.1", 1580688000)]
    assert items["outfit.1"]["tags"] == "Silk Red; dark" and items["outfit.1"]["brand"] == "Acme"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"transactions_train.csv": "t_dat,customer_id\n2018-09-20,c\n"}, "column 'article_id' is missing"),
        (
            {"transactions_train.csv": "t_dat,customer_id,article_id\nyesterday,c,1\n"},
            r"line 2.*'yesterday' is no date or time",
        ),
        ({"yelp_academic_dataset_review.json": '{"user_id": "u", "business_id": "b"}\n'}, "'date' is missing"),
        ({"steam_reviews.json": "__import__('os').getcwd()\n"}, "neither JSON nor a Python literal"),
        ({"big_matrix.csv": "user_id,video_id,timestamp,watch_ratio\n0,1\n"}, "2 fields where the header has 4"),
        (
            {
                "user_activity_triplets.csv": "customer.id;outfit.id;rentalPeriod.start\nc;o;2020-02-03\n",
                "outfits.csv": "id;name;description;group;owner;outfit_tags\no;n;d;g;w;[open()]\n",
            },
            "outfit_tags is no list",
        ),
    ],
)
def test_wrong_files(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        import_data([public_data.write(tmp_path / "in", files)], tmp_path / "out")
    assert not (tmp_path / "out" / "items.parquet").exists()
