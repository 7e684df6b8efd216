"""Table files: what is not what the file says is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli import tables
from gti_cli.errors import InputError


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


def test_texts_of_several_lines_are_fine(tmp_path: Path) -> None:
    text = "Warm,\nwith lining, hood, and\r\n3 pockets, red"
    (tmp_path / "t.csv").write_text(f'item_id,title\na,"{text}"\nb,24" hat\n', newline="")
    assert tables.read(tmp_path / "t.csv").column("title").to_pylist() == [text, '24" hat']
