"""`gti import` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gti_cli.app import run as gti
from tests.support import public_data


def test_tables_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = public_data.movielens_100k(tmp_path / "in")
    assert gti(["import", str(source), "-o", str(tmp_path / "out"), "--min-rating", "2", "-q"]) == 0
    said = capsys.readouterr().out
    for words in ("MovieLens 100k", "left out: rating below 2, or none", "rows at the same time as another"):
        assert words in said
    assert gti(["import", str(source), "-o", str(tmp_path / "out"), "--min-rating", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["written"]["interactions"] == 2


def test_bad_input_is_one_line_and_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public_data.write(tmp_path, {"u.data": "1\t2\n"})
    assert gti(["import", str(tmp_path / "u.data"), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "u.data, line 1: 2 fields where 4 are needed" in said.err.splitlines()[-1]
    assert not list((tmp_path / "out").glob("*.parquet"))
