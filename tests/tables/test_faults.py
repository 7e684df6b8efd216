"""Broken text tables: the line of the file and the remedy that fits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gti_cli import tables
from gti_cli.errors import InputError


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.jsonl", b'{"a": 1}\n\n{"a": 2', r"t\.jsonl, line 3: cannot be read as jsonl"),
        ("t.jsonl", b'{"a": "x"}\n{"a": NaN}\n', "line 2: a number where line 1 has a text"),
        ("t.jsonl", b'{"a": 1}\n{"a": "x"}\n', "column 'a', line 2: a text where line 1 has a number"),
        ("t.json", b'[{"a": 1}]', "one object per line"),
        ("t.csv", b'a,b\n1,"x\ny"\n1,2,3\n', "line 4: .*3 fields where the header has 2.*quotes"),
        ("t.csv", b"a;b\n1;2\n", "semicolons.*commas"),
        ("t.csv", b"a\tb\n1\t2,3\n", "tabs.*commas"),
        ("t.csv", "a,b\nx,y\n".encode("utf-16"), "UTF-16.*Save it as UTF-8"),
        ("t.csv", "item_id,title\na,x\nb,grün\n".encode("latin-1"), "line 3: the text is not UTF-8"),
    ],
)
def test_line_and_remedy(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        tables.read(tmp_path / name)
    assert re.search(message, str(caught.value)), str(caught.value)
