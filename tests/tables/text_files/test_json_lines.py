"""JSONL files: texts stay as written, and columns that nobody uses may hold anything."""

from __future__ import annotations

import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.text_files import json_lines
from gti_cli.tables.text_files.json_lines import read_json_lines
from gti_cli.tables.times import read_times


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n\n{"a": 2', r"t\.jsonl, line 3: cannot be read as jsonl"),
        (b'[{"a": 1}]', "this is a JSON array. Write one object per line"),
        (b'{"a": 1}\n[2]\n', "line 2: cannot be read as jsonl: no object"),
        (b'{"a": 1, "a": 2}\n', "line 1: .*the field 'a' stands twice"),
        ('{"a": "x"}\n'.encode("utf-16"), "UTF-16.*Save it as UTF-8"),
        (b'{"a": ' + b"[" * 100_000 + b"\n", "line 1: (brackets are nested too deep|cannot be read)"),
        (b"", "no rows"),
        (b"\n\n", "no rows"),
    ],
)
def test_line_and_remedy(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(InputError) as caught:
        tables.read(tmp_path / "t.jsonl")
    assert re.search(message, str(caught.value)), str(caught.value)


TITLES = ["2024-01-01", "2024-01-01T10:00:00", "2001-09-11 00:00:00", "1999-12-31"]


@pytest.mark.parametrize("start", [1 << 20, 40, 1])
def test_texts_that_look_like_dates_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: int) -> None:
    """Also where the lines from which the columns are found do not show them."""
    monkeypatch.setattr(json_lines, "_START", start)
    rows = [{"item_id": "a", "tags": None}, *({"item_id": "b", "title": t, "tags": [t], "deep": [[t]]} for t in TITLES)]
    read = tables.read(write(tmp_path / "t.jsonl", rows))
    assert read.column_names == ["item_id", "tags", "title", "deep"]
    assert tables.strings(read, "title", "t") == ["", *TITLES]
    assert tables.strings(read, "tags", "t") == ["", *TITLES]
    assert tables.strings(read, "deep", "t") == ["", *TITLES]


@pytest.mark.parametrize("mixed", [False, True])
def test_times_are_times(tmp_path: Path, mixed: bool) -> None:
    rows: list[dict[str, Any]] = [{"timestamp": "2024-01-02"}, {"timestamp": "2024-01-01", "other": 1}]
    rows += [{"timestamp": "2024-01-03", "other": "x"}] if mixed else []
    path = write(tmp_path / "t.jsonl", rows)
    second, first, *_ = read_times(tables.read(path), "timestamp", path).tolist()
    assert second - first == 86_400
    assert pa.types.is_string(read_json_lines(path, numeric=()).schema.field("timestamp").type)


OTHER = {
    "list and text": (["a"], "b", "a text where line 1 has a list of texts"),
    "text and number": ("a", 1, "a number where line 1 has a text"),
    "number and truth": (1, True, "a truth value where line 1 has a number"),
    "object and text": ({"a": 1}, "b", "a text where line 1 has a nested object"),
    "lists": ([1], ["b"], "a list of texts where line 1 has a list of numbers"),
    "inside of a list": ([1, "b"], [1, "b"], "a list of numbers and texts"),
    "inside of objects": ({"a": 1}, {"a": "b"}, "a nested object that differs inside"),
    "inside of lists of lists": ([[1]], [["b"]], "a list of lists that differs inside"),
}


@pytest.mark.parametrize("name", OTHER)
@pytest.mark.parametrize("rows_at_once", [1, 2, 1 << 14])
def test_only_who_uses_a_column_of_different_kinds_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    rows_at_once: int,
) -> None:
    monkeypatch.setattr(json_lines, "_ROWS", rows_at_once)
    first, second, message = OTHER[name]
    rows = [
        {"item_id": "a", "title": "2024-01-01", "other": first, "size": 1, "tags": []},
        {"item_id": "b", "title": None, "other": second, "size": 2.5, "tags": ["x"]},
        {"item_id": "c", "late": "y", "tags": None},
    ]
    path = write(tmp_path / "t.jsonl", rows)
    read = tables.read(path, ["item_id", "title"])
    assert tables.ids(read, "item_id", path) == ["a", "b", "c"]
    assert tables.strings(read, "title", path) == ["2024-01-01", "", ""]
    assert read.column("size").to_pylist() == [1, 2.5, None]
    assert tables.strings(read, "late", path) == ["", "", "y"]
    assert tables.strings(read, "tags", path) == ["", "x", ""]
    assert "columns that hold different kinds of values are left out: 'other'" in capsys.readouterr().err
    line = 1 if name == "inside of a list" else 2
    for read_column in (tables.ids, tables.strings, tables.integers, tables.vectors):
        # An error inside of objects is found when all parts are joined, if they came one by one.
        with pytest.raises(InputError) as raised:
            read_column(read, "other", path)
        if rows_at_once == 1 and name in ("inside of objects", "inside of lists of lists"):
            assert "differ" in str(raised.value)
        else:
            assert f"column 'other', line {line}: {message}" in str(raised.value)
        assert "write the same kind of value in every line" in str(raised.value).lower()


def test_both_ways_of_reading_agree(tmp_path: Path) -> None:
    rows = [
        {"a": "x", "b": 1, "c": [1.5, 2], "d": ["2024-01-01"], "e": {"f": "2024-01-01"}, "g": True},
        {"a": None, "b": 2**40, "c": [], "h": "late"},
        {},
    ]
    fast = read_json_lines(write(tmp_path / "fast.jsonl", rows))
    slow = read_json_lines(write(tmp_path / "slow.jsonl", [*rows, {"z": 1}, {"z": "x"}])).slice(0, 3)
    for name in ("a", "b", "c", "d", "g", "h"):
        assert fast.column(name).to_pylist() == slow.column(name).to_pylist()
        assert fast.schema.field(name).type == slow.schema.field(name).type
    assert fast.column_names == slow.column_names[:-1]


def test_texts_that_are_not_utf_8_are_named_by_who_reads_them(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'{"a": "x", "b": "\xff"}\n{"a": "\xfc", "b": "y"}\n')
    read = tables.read(tmp_path / "t.jsonl")
    for read_column in (tables.ids, tables.strings):
        with pytest.raises(InputError, match="column 'a', row 2: the bytes are no text in UTF-8"):
            read_column(read, "a", "t.jsonl")


def test_long_lines_and_large_numbers(tmp_path: Path) -> None:
    long = {"a": "x" * (3 << 20), "b": 2**70}
    read = read_json_lines(write(tmp_path / "t.jsonl", [long, {"a": "y", "b": 1}]))
    assert tables.strings(read, "a", "t") == [long["a"], "y"]
    with pytest.raises(InputError, match="row 1: the id 1180591620717411303424 is too large for double"):
        tables.ids(read, "b", "t")


def test_half_a_character_spoils_its_column_alone(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": "x", "b": "y"}\n{"a": "\\ud83d", "b": "z"}\n')
    read = tables.read(tmp_path / "t.jsonl")
    assert tables.strings(read, "b", "t") == ["y", "z"]
    with pytest.raises(InputError, match=r"line 2: a text that .*no Unicode"):
        tables.strings(read, "a", "t")


def test_byte_order_mark_compression_and_other_sources(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"a": "2024-01-01"}\r\n{"a": "x"}\n'
    expected = {"a": ["2024-01-01", "x"]}
    (tmp_path / "t.jsonl").write_bytes(content)
    assert tables.read(tmp_path / "t.jsonl").to_pydict() == expected
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(content))
    assert read_json_lines(tmp_path / "t.jsonl.gz").to_pydict() == expected
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(content * 9)[:-9])
    with pytest.raises(InputError, match="cannot be read as jsonl"):
        read_json_lines(tmp_path / "t.jsonl.gz")
    assert read_json_lines("s3://a/t.jsonl", open_file=lambda: io.BytesIO(content)).to_pydict() == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"null", "line 1: cannot be read as jsonl: no object"),
        (b"\xef\xbb\xbf null\n", "line 1: cannot be read as jsonl: no object"),
        (b'{"a": 1}\n\n  null', "line 3: cannot be read as jsonl: no object"),
        (b'{"a": 1}\n' * 120_000 + b"null", "line 120,001: cannot be read as jsonl: no object"),
        (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "line 1: brackets are nested too deep"),
        (b'{"a\xff": 1}', "line 1: the text is not UTF-8"),
    ],
)
def test_what_would_end_the_process_in_pyarrow(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_json_lines(tmp_path / "t.jsonl")


def test_many_shallow_lists_in_a_line_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": [' + ", ".join(["[1]"] * 5000) + "]}\n" + '{"a": [[2]]}\n' * 9)
    assert read_json_lines(tmp_path / "t.jsonl").column("a").to_pylist() == [[[1]] * 5000] + [[[2]]] * 9


def test_half_a_character_in_a_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n{"a": "x", "\\ud800": 1}\n')
    with pytest.raises(InputError, match="line 2: a field's name holds half a character"):
        read_json_lines(tmp_path / "t.jsonl")
