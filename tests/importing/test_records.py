"""Records out of text: JSON, literals, fields."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.importing import records
from gti_cli.importing.sources import SourceFile
from tests.support.alphabets import UNUSUAL
from tests.support.public_data import write

TEXTS = st.text(UNUSUAL, max_size=4)
VALUES = st.dictionaries(TEXTS, st.one_of(st.none(), st.integers(), TEXTS, st.booleans()))


@given(value=VALUES, literal=st.booleans())
def test_json_and_literals_come_back(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, object], literal: bool
) -> None:
    folder = tmp_path_factory.mktemp("records")
    write(folder, {"x.json": (repr(value) if literal else json.dumps(value)) + "\n"})
    assert list(records.objects(SourceFile(folder / "x.json"))) == [(1, value)]


def test_no_code_is_run(tmp_path: Path) -> None:
    write(tmp_path, {"x.json": "open('made', 'w')\n"})
    with pytest.raises(InputError, match="line 1: this line is neither JSON nor a Python literal"):
        list(records.objects(SourceFile(tmp_path / "x.json")))


def test_huge_lines_are_no_literals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LONGEST_LITERAL", 10)
    write(tmp_path, {"x.json": "{'a': 'bbbbbbbb'}\n"})
    with pytest.raises(InputError, match="has 17 characters and is no JSON"):
        list(records.objects(SourceFile(tmp_path / "x.json")))


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"x.json": "[" * 100_000 + "\n", "y.json": "[" * 100_000})
    with pytest.raises(InputError, match=r"x\.json, line 1"):
        list(records.objects(SourceFile(tmp_path / "x.json")))
    with pytest.raises(InputError, match=r"y\.json"):
        records.whole_json(SourceFile(tmp_path / "y.json"))


def test_fields_with_and_without_quotes(tmp_path: Path) -> None:
    write(tmp_path, {"x.txt": '1::"a::b\n', "y.csv": 'a,b\n1,"x, y\nz"\n2,w\n'})
    assert list(records.fields(SourceFile(tmp_path / "x.txt"), "::", 3)) == [(1, ["1", '"a', "b"])]
    rows = list(records.fields(SourceFile(tmp_path / "y.csv"), ",", 2, quoted=True))
    assert rows == [(1, ["a", "b"]), (3, ["1", "x, y\nz"]), (4, ["2", "w"])]


def test_columns_by_name(tmp_path: Path) -> None:
    write(tmp_path, {"x.csv": "b, a \n1,2\n"})
    file = SourceFile(tmp_path / "x.csv")
    assert list(records.table_rows(file, ["a"], optional=["c", "b"])) == [(2, ["2", "", "1"])]
    with pytest.raises(InputError, match=r"line 1: column 'c' is missing \(the header has b, a\)"):
        list(records.table_rows(file, ["c"]))
