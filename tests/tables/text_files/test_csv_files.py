"""CSV files: texts stay as written, and what cannot be read is explained by line and remedy."""

from __future__ import annotations

import bz2
import gzip
import io
import re
from pathlib import Path

import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.text_files.csv_files import read_csv


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'a,b\n1,"x\ny"\n1,2,3\n', "line 4: .*3 fields where the header has 2.*quotes"),
        (b"a;b\n1;2\n", "semicolons.*commas"),
        (b"a\tb\n1\t2,3\n", "tabs.*commas"),
        ("a,b\nx,y\n".encode("utf-16"), "UTF-16.*Save it as UTF-8"),
        ("item_id,title\na,x\nb,grün\n".encode("latin-1"), "line 3: the text is not UTF-8"),
        (b"item_id,title\na\n", "line 2: .*1 fields where the header has 2"),
    ],
)
def test_line_and_remedy(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError) as caught:
        tables.read(tmp_path / "t.csv")
    assert re.search(message, str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        'item_id,title\na,x\nb,"Premium hat\nc,y\nd,z\n',
        'item_id,title\na,x\nb,"Premium hat\nc,y\nd,z"\n',
        'item_id,title,brand\na,x,n\nb,"Premium hat,n\nc,y,n\nd,"z",n\n',
        'item_id,title\na, x\nb, "Premium\nc, y"\nd, z\nb,"Premium hat\nc, y\nd, z\n',
        'title\nx\n"Premium hat\ny\nz\n',
    ],
)
def test_an_unclosed_quote_does_not_swallow_rows(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=r"row \d: a quote is never closed|cannot be read as csv"):
        tables.read(tmp_path / "t.csv")
    (tmp_path / "t.tsv").write_text(content.replace(",", "\t"))
    with pytest.raises(InputError, match=r"row \d: a quote is never closed|cannot be read as csv"):
        read_csv(tmp_path / "t.tsv", delimiter="\t")


def test_texts_of_several_lines_are_fine(tmp_path: Path) -> None:
    text = "Warm,\nwith lining, hood, and\r\n3 pockets, red"
    (tmp_path / "t.csv").write_text(f'item_id,title\na,"{text}"\nb,24" hat\n', newline="")
    assert tables.read(tmp_path / "t.csv").column("title").to_pylist() == [text, '24" hat']


@pytest.mark.parametrize("start", ["array([", "[", "np.array(["])
def test_vectors_of_several_lines_are_fine(tmp_path: Path, start: str) -> None:
    vector = start + ",\n".join(["0.1, 0.2", "-3.e-5, 4", "5, 6"]) + "]" + (", dtype=float32)" if "(" in start else "")
    (tmp_path / "t.csv").write_text(f'item_id,embedding\na,"{vector}"\n')
    read = tables.read(tmp_path / "t.csv")
    assert tables.vectors(read, "embedding", "t.csv").tolist() == [pytest.approx([0.1, 0.2, -3e-5, 4, 5, 6])]


@pytest.mark.parametrize(("delimiter", "compress"), [(",", gzip.compress), ("\t", bz2.compress), ("|", gzip.compress)])
def test_other_delimiters_and_compressed_files(tmp_path: Path, delimiter: str, compress: object) -> None:
    assert callable(compress)
    ending = "gz" if compress is gzip.compress else "bz2"
    path = tmp_path / f"t.csv.{ending}"
    path.write_bytes(compress(f"item_id{delimiter}title\n007{delimiter}2024-01-01\n".encode()))
    assert read_csv(path, delimiter=delimiter).to_pydict() == {"item_id": ["007"], "title": ["2024-01-01"]}
    path.write_bytes(compress(f"item_id{delimiter}title\n007\n".encode()))
    with pytest.raises(InputError, match=r"line 2: .*1 fields where the header has 2"):
        read_csv(path, delimiter=delimiter)
    path.write_bytes(compress(b"item_id,title\na,b\n" * 1000)[:-9])
    with pytest.raises(InputError, match=r"t\.csv\.\w+: cannot be read as csv"):
        read_csv(path)


def test_a_table_that_is_not_a_file() -> None:
    content = b"\xef\xbb\xbfitem_id,when,price\n007,5,1.50\n"
    read = read_csv("https://a.b/t.csv", open_file=lambda: io.BytesIO(content), numeric=["when"])
    assert read.to_pydict() == {"item_id": ["007"], "when": [5], "price": ["1.50"]}
    with pytest.raises(InputError, match=r"^https://a.b/t.csv, line 3: the text is not UTF-8"):
        read_csv("https://a.b/t.csv", open_file=lambda: io.BytesIO(content + b"\xff,5,1\n"))


def test_tabs_are_asked_for_where_they_are_expected(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"separated by commas. Save it with tabs"):
        read_csv(tmp_path / "t.tsv", delimiter="\t")


@pytest.mark.parametrize("header", ['item_id, "price"', 'item_id,pr"ice', '"item_id","price"', "'item_id','price'"])
def test_types_are_not_guessed_whatever_the_header_looks_like(tmp_path: Path, header: str) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\n007,1.50\n")
    values = read_csv(tmp_path / "t.csv").to_pydict()
    assert list(values.values()) == [["007"], ["1.50"]]
    assert list(values) == ["item_id", 'pr"ice' if 'pr"' in header else "price"]
