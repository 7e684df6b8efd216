"""Embeddings on disk, against numpy and safetensors."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from gti_cli.errors import InputError
from gti_cli.tensors.vector_file import ScatteredWriter, VectorFile, write_vectors


def made(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 9), st.data())
@settings(max_examples=60, deadline=None)
def test_reads_what_numpy_reads(tmp_path_factory: Any, n: int, d: int, block: int, data: st.DataObject) -> None:
    path, rows = tmp_path_factory.mktemp("v") / "v.safetensors", made(n, d)
    write_vectors(path, (n, d), (rows[start : start + block] for start in range(0, n, block)))
    found = VectorFile(path)
    np.testing.assert_array_equal(load_file(path)["embeddings"], rows)
    assert found.shape == (n, d) and len(found) == n
    keys: list[Any] = [
        slice(data.draw(st.integers(-n, n)), data.draw(st.integers(-n, 2 * n))),
        slice(None, None, data.draw(st.integers(1, 4))),
        slice(None),
        np.asarray(data.draw(st.lists(st.integers(0, n - 1))), dtype=np.int64),
        np.asarray(data.draw(st.lists(st.booleans(), min_size=n, max_size=n))),
        data.draw(st.integers(0, n - 1)),
    ]
    for key in keys:
        np.testing.assert_array_equal(found[key], rows[key])
    np.testing.assert_array_equal(np.asarray(found), rows)


def test_the_bytes_are_those_of_safetensors(tmp_path: Path) -> None:
    for n, d in ((1, 1), (7, 3), (1000, 12)):
        rows = made(n, d)
        save_file({"embeddings": rows}, tmp_path / "theirs")
        write_vectors(tmp_path / "mine", (n, d), [rows])
        assert (tmp_path / "mine").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_rows_in_any_order_by_two_writers(tmp_path: Path) -> None:
    rows = made(9, 4)
    first, second = (ScatteredWriter(tmp_path / "v", (9, 4)) for _ in range(2))
    first.put([8, 0, 3], rows[[8, 0, 3]])
    second.put([1, 2], rows[[1, 2]])
    first.put([4, 5, 6, 7], rows[4:8])
    for writer in (first, second):
        writer.flush()
        writer.close()
    np.testing.assert_array_equal(load_file(tmp_path / "v")["embeddings"], rows)


def test_a_second_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = made(3, 2)
    write_vectors(tmp_path / "a", (3, 2), [rows])
    np.testing.assert_array_equal(VectorFile(tmp_path / "a").also_at(tmp_path / "b")[:], rows)

    def no_links(*_: Any) -> None:
        raise OSError

    monkeypatch.setattr("os.link", no_links)
    np.testing.assert_array_equal(VectorFile(tmp_path / "a").also_at(tmp_path / "c")[:], rows)


@pytest.mark.parametrize(
    "content",
    [b"", b"123", struct.pack("<Q", 2) + b"{}", struct.pack("<Q", 4) + b"[1,2", struct.pack("<Q", 1 << 60) + b"{"],
)
def test_what_is_no_such_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as embeddings"):
        VectorFile(tmp_path / "v")


def test_a_truncated_or_missing_file(tmp_path: Path) -> None:
    write_vectors(tmp_path / "v", (5, 2), [made(5, 2)])
    whole = (tmp_path / "v").read_bytes()
    opened = VectorFile(tmp_path / "v")
    (tmp_path / "v").write_bytes(whole[:-1])
    for path in (tmp_path / "v", tmp_path / "none"):
        with pytest.raises(InputError, match="--force"):
            VectorFile(path)
    with pytest.raises(InputError, match="became shorter"):
        opened[3:]


def test_more_rows_than_announced(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="4 rows were written where 5"):
        write_vectors(tmp_path / "v", (5, 2), [made(4, 2)])
