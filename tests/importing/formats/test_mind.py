"""MIND's impressions."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.importing.import_data import import_data
from tests.support import public_data
from tests.support.importing import read_tables


def test_history_first_then_clicks_in_time_order(tmp_path: Path) -> None:
    interactions, items = read_tables([public_data.mind(tmp_path / "in")], tmp_path / "out")
    assert [row for row in interactions if row[0] == "U1"] == [
        ("U1", "N1", 0),
        ("U1", "N2", 1),
        ("U1", "N5", 2),
        ("U1", "N3", 3),
    ]
    assert [row for row in interactions if row[0] == "U2"] == [("U2", "N1", 0)]
    assert items["N1"] == {"title": 'A "quoted" title', "description": "An abstract", "categories": "sports > soccer"}


def test_a_date_of_another_form_is_named(tmp_path: Path) -> None:
    public_data.write(tmp_path, {"behaviors.tsv": "1\tU1\t2019-11-14 20:00:00\t\tN1-1\n"})
    with pytest.raises(InputError, match=r"behaviors\.tsv, line 1.*'2019-11-14 20:00:00' is not written as"):
        import_data([tmp_path / "behaviors.tsv"], tmp_path / "out")


def test_bounds_in_time_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--since needs times"):
        import_data([public_data.mind(tmp_path / "in")], tmp_path / "out", since="2019-11-14")
