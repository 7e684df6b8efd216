"""Files, compressed or not, and their lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.importing.sources import SourceFile, _split, find_files
from tests.support.public_data import write
from tests.support.table_sources import put_into_hub_cache, serve_files, use_folder_as_caches


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2", ".zst"])
def test_lines_are_the_same_however_compressed(tmp_path: Path, ending: str) -> None:
    text = "\ufeffone\r\n\ntwo é\n" + "x" * 3_000_000 + "\nlast"
    file = SourceFile(write(tmp_path, {f"T.TXT{ending}": text}) / f"T.TXT{ending}")
    assert file.name == "t.txt"
    lines = list(file.lines())
    assert [number for number, _ in lines] == [1, 3, 4, 5]
    assert [line for _, line in lines] == ["one", "two é", "x" * 3_000_000, "last"]


@given(st.binary(max_size=60), st.integers(1, 7))
def test_blocks_are_cut_at_line_ends(content: bytes, size: int) -> None:
    class Stream:
        def __init__(self) -> None:
            self.place = 0

        def read(self, _: int) -> bytes:
            self.place += size
            return content[self.place - size : self.place]

    lines = content.split(b"\n")
    lines = lines if lines[-1] else lines[:-1]
    assert list(_split(Stream())) == [line.removesuffix(b"\r") for line in lines]  # type: ignore[arg-type]


def test_damage_and_other_encodings_are_named(tmp_path: Path) -> None:
    write(tmp_path, {"a.json.gz": "one\n" * 10_000, "b.json.zst": "one\n" * 10_000, "c.txt": "é\n".encode("latin-1")})
    for name in ("a.json.gz", "b.json.zst"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match=f"{name}.*(damaged|cut short)"):
            list(SourceFile(tmp_path / name).lines())
    with pytest.raises(InputError, match=r"c\.txt, line 1: the text is not UTF-8"):
        list(SourceFile(tmp_path / "c.txt").lines())
    assert SourceFile(tmp_path / "c.txt").first_line() == "é"


def test_folders_are_searched_and_hidden_files_left_out(tmp_path: Path) -> None:
    write(tmp_path / "d" / "inner", {"b.csv": "x", ".hidden": "x"})
    write(tmp_path / "d", {"a.csv": "x"})
    files = find_files([tmp_path / "d", tmp_path / "d" / "a.csv"])
    assert [file.path.name for file in files] == ["a.csv", "b.csv"]
    with pytest.raises(InputError, match="no such file or folder"):
        find_files([tmp_path / "none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no file"):
        find_files([tmp_path / "empty"])


def test_a_line_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gti_cli.importing.sources.LONGEST_LINE", 1 << 20)
    write(tmp_path, {"bomb.json.gz": b"short\n" + b"0" * (1 << 25)})
    with pytest.raises(InputError, match=r"bomb\.json\.gz, line 2: the line is longer than"):
        list(SourceFile(tmp_path / "bomb.json.gz").lines())


def test_files_of_the_hub_and_of_servers_keep_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = use_folder_as_caches(tmp_path, monkeypatch)
    put_into_hub_cache(hub, "me/shop", {"raw/shop.inter": b"one\n", "raw/shop.item": b"two\n"})
    with serve_files() as server:
        server.files = {"/u.data": b"three\n"}
        addresses = ["hf://datasets/me/shop/raw/shop.*", f"{server.url}/u.data"]
        files = find_files([*addresses, Path(addresses[0])])
    assert [file.name for file in files] == ["shop.inter", "shop.item", "u.data"]
    assert [file.first_line() for file in files] == ["one", "two", "three"]
