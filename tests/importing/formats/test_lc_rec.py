"""The JSON of LC-Rec's family."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.importing.import_data import import_data
from tests.support import public_data
from tests.support.importing import read_tables


def test_order_becomes_position_and_numbers_become_ids(tmp_path: Path) -> None:
    source = public_data.lc_rec(tmp_path / "in")
    interactions, items = read_tables([source], tmp_path / "out")
    assert interactions == [("0", "0", 0), ("0", "1", 1), ("0", "0", 2), ("1", "1", 0)]
    assert items["0"] == {"title": "Pen", "description": "Red", "brand": "Acme", "categories": "Office > Pens"}
    manifest = import_data([source], tmp_path / "two")
    assert "--import-index" in manifest.details["notes"][0]
    assert manifest.metrics["read"]["repeated_pairs"] == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"X.inter.json": '{"0": [1, 2'}, "is no JSON"),
        ({"X.inter.json": '{"0": "1 2"}'}, "user '0' has no list"),
        ({"X.inter.json": "[1]"}, "holds no JSON object"),
        ({"X.inter.json": '{"0": [1]}', "X.item.json": '{"1": "Pen"}'}, "item '1' has no object"),
    ],
)
def test_wrong_files(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        import_data([public_data.write(tmp_path / "in", files)], tmp_path / "out")
