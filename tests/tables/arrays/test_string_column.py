from __future__ import annotations

import errno
import io
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.tables.arrays import string_column
from gti_cli.tables.arrays.string_column import StringColumn, StringsOnDisk, gather_strings, string_array

BOUND = st.none() | st.integers(-12, 12)


@given(texts=st.lists(st.text(max_size=3), max_size=10), chunk=st.integers(1, 4), start=BOUND, stop=BOUND, step=BOUND)
def test_used_like_a_list(texts: list[str], chunk: int, start: int | None, stop: int | None, step: int | None) -> None:
    chunks = [texts[first : first + chunk] for first in range(0, len(texts), chunk)]
    column = StringColumn(pa.chunked_array(chunks, pa.string()))
    assert list(column) == texts and column == texts and column != [*texts, "x"] and len(column) == len(texts)
    assert [column[row] for row in range(-len(texts), len(texts))] == texts + texts
    if step != 0:
        assert column[start:stop:step] == texts[start:stop:step]
    assert string_array(column).to_pylist() == string_array(texts).to_pylist() == texts


@given(
    parts=st.lists(st.lists(st.text(max_size=3), max_size=4), max_size=5),
    most=st.integers(-1, 12),
    start=BOUND,
    stop=BOUND,
    step=BOUND,
)
def test_gathered_in_memory_or_on_disk(
    parts: list[list[str]], most: int, start: int | None, stop: int | None, step: int | None
) -> None:
    texts = [text for part in parts for text in part]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(string_column, "MOST_IN_MEMORY", most)
        gathered = gather_strings(iter(parts))
    size = len("".join(texts).encode())
    assert isinstance(gathered, StringsOnDisk if size > most and texts else StringColumn)
    assert list(gathered) == texts and gathered == texts and len(gathered) == len(texts)
    assert [gathered[row] for row in range(-len(texts), len(texts))] == texts + texts
    if step != 0:
        assert gathered[start:stop:step] == texts[start:stop:step]
    assert string_array(gathered).to_pylist() == texts
    first, last, _ = slice(start, stop).indices(len(texts))
    some = gathered.array(first, max(first, last))
    assert some.to_pylist() == texts[first:last] and some.type == pa.string()


def test_the_temporary_file_is_in_the_folder_and_invisible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(string_column, "MOST_IN_MEMORY", 0)
    gathered = gather_strings([["a", "b"], ["c"]], tmp_path)
    assert isinstance(gathered, StringsOnDisk) and list(tmp_path.iterdir()) == [] and gathered == ["a", "b", "c"]
    with pytest.raises(FileNotFoundError):
        gather_strings([["a"]], tmp_path / "absent")
    with pytest.raises(IndexError):
        gathered[3]


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(string_column, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: Full())
    with pytest.raises(OSError, match="No space left") as raised:
        gather_strings([["a"]], tmp_path)
    assert raised.value.errno == errno.ENOSPC and raised.value.filename == str(tmp_path)
