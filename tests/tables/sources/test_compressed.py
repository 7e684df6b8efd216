"""Compressed files give the table that the plain file gives; damaged ones are refused by name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.sources import compressed

CSV = b'item_id,title,timestamp\n007,"a, b",12\n08,NA,13\n'
SAME = {"item_id": ["007", "08"], "title": ["a, b", "NA"], "timestamp": [12, 13]}


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


@pytest.mark.parametrize(
    ("ending", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zst", zstd)]
)
def test_the_table_is_that_of_the_plain_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, compress: Callable[[bytes], bytes]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    (tmp_path / f"t.csv.{ending}").write_bytes(compress(CSV))
    (tmp_path / f"t.tsv.{ending}").write_bytes(compress(CSV.replace(b"a, b", b"a; b").replace(b",", b"\t")))
    (tmp_path / f"t.jsonl.{ending}").write_bytes(compress(b'{"item_id": "007"}\n'))
    assert tables.read(tmp_path / f"t.csv.{ending}").to_pydict() == SAME
    assert tables.read(tmp_path / f"t.tsv.{ending}").to_pydict() == {**SAME, "title": ["a; b", "NA"]}
    assert tables.read(tmp_path / f"t.jsonl.{ending}").to_pydict() == {"item_id": ["007"]}
    assert not list(scratch.iterdir())  # nothing stays behind


def test_a_plain_tsv_keeps_ids_as_text(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_bytes(CSV.replace(b",", b"\t"))
    assert tables.read(tmp_path / "t.tsv").column("item_id").to_pylist() == ["007", "08"]


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(CSV)[:-12])
    (tmp_path / "u.csv.gz").write_bytes(CSV)
    for name in ("t", "u"):
        with pytest.raises(InputError, match=rf"{name}.csv.gz: cannot be decompressed"):
            tables.read(tmp_path / f"{name}.csv.gz")


@pytest.mark.parametrize(("ending", "compress"), [("gz", gzip.compress), ("xz", lzma.compress), ("zst", zstd)])
def test_a_bomb_is_refused_while_it_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, compress: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(compressed, "MOST_BYTES", 100_000)
    monkeypatch.setattr(compressed, "PIECE", 10_000)
    for content, problem in ((bytes(3_000_000), "grows from"), (bytes(99_000), "cannot be read as csv")):
        (tmp_path / f"t.csv.{ending}").write_bytes(compress(content))
        with pytest.raises(InputError, match=problem):
            tables.read(tmp_path / f"t.csv.{ending}")


def test_errors_name_the_compressed_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"item_id,title\na,x\nb\n"))
    with pytest.raises(InputError, match=rf"^{tmp_path}/t.csv.gz, line 3: cannot be read as csv"):
        tables.read(tmp_path / "t.csv.gz")
