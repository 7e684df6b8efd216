"""Text files as streams of bytes."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from gti_cli.tables.text_files.streams import binary_stream, encoding_fault, opener, text_stream

TEXT = "a,ü\r\nb,x\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", TEXT.encode()),
        ("t.csv", TEXT.encode("utf-8-sig")),
        ("t.csv.gz", gzip.compress(TEXT.encode(), mtime=0)),
        ("t.csv.bz2", bz2.compress(TEXT.encode())),
        ("t.csv.zst", pa.compress(TEXT.encode(), "zstd", asbytes=True)),
    ],
)
def test_a_file_is_opened_as_often_as_needed(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    open_file = opener(tmp_path / name)
    for _ in range(2):
        with text_stream(open_file) as text:
            assert list(text) == ["a,ü\r\n", "b,x\n"]
        with binary_stream(open_file) as lines:
            assert [line.removeprefix(b"\xef\xbb\xbf") for line in lines] == TEXT.encode().splitlines(keepends=True)
    assert encoding_fault("t", open_file) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a\nb\n\xff\n", "t, line 3: the text is not UTF-8. Save it as UTF-8."), ("a\n".encode("utf-16"), "UTF-16")],
)
def test_other_encodings_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t").write_bytes(content)
    assert message in str(encoding_fault("t", opener(tmp_path / "t")))
