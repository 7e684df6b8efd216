from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from gti_cli import tables
from gti_cli.checkpoints.token_names import TOKEN_STYLES, semantic_id
from gti_cli.errors import InputError
from gti_cli.semantic_ids import artifact
from gti_cli.tensors.codebooks import read_codebooks
from tests.support.semantic_ids import make_catalogue


@settings(max_examples=30)
@given(n=st.integers(1, 20), levels=st.integers(1, 5), most=st.integers(1, 30), style=st.sampled_from(TOKEN_STYLES))
def test_tokens_are_those_of_each_tuple_by_itself(n: int, levels: int, most: int, style: str) -> None:
    codes = np.random.default_rng(n).integers(most, size=(n, levels)).astype(np.int32)
    assert artifact._tokens(codes, style).to_pylist() == [semantic_id(row, style) for row in codes.tolist()]


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_ids_come_back_from_their_file(tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "_PART", rows)
    codes = np.array([[0, 5, 2], [7, 1, 0], [1, 1, 1]], dtype=np.int32)
    artifact.write_ids(tmp_path / artifact.IDS, ["a", "b", "c"], codes)
    ids = tables.read_semantic_ids(tmp_path / artifact.IDS)
    assert ids.item_ids == ["a", "b", "c"]
    assert ids.tokens == ["<a_0><b_5><c_2>", "<a_7><b_1><c_0>", "<a_1><b_1><c_1>"]
    np.testing.assert_array_equal(ids.codes, codes)


def test_items_with_the_first_item_of_the_same_embedding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "_PART", 2)
    catalogue = make_catalogue(tmp_path, title=["x", "y", "z"], price=[1.0, 2.0, 3.0])
    parts = list(artifact.items_parts(catalogue))
    assert [len(part) for part in parts] == [2, 1] and parts[0].column_names == ["item_id", "text", "title"]
    ids = catalogue.item_ids.column
    items = pa.concat_tables(artifact.with_same_as(parts, ids, np.array([0, 1, 0])))
    assert items.select(["item_id", "title"]).to_pydict() == {"item_id": ["i0", "i1", "i2"], "title": ["x", "y", "z"]}
    assert items.column("same_as").to_pylist() == [None, None, "i0"]
    (again,) = artifact.with_same_as([items], ids, np.array([0, 1, 1]))  # of an artifact that gained items: replaced
    assert again.column_names == [*items.column_names]
    assert again.column("same_as").to_pylist() == [None, None, "i1"]
    assert again.schema.field("same_as").type == pa.string()
    written = artifact.write_items(tmp_path / "written.parquet", artifact.with_same_as(parts, ids, np.array([0, 1, 0])))
    assert tables.read(tmp_path / "written.parquet").equals(items) and len(written) == 3


def test_codebooks_come_back_from_their_file(tmp_path: Path) -> None:
    books = [np.random.default_rng(0).standard_normal((size, 3)) for size in (4, 2)]
    artifact.write_codebooks(tmp_path / artifact.CODEBOOKS, books)
    for book, read in zip(books, read_codebooks(tmp_path / artifact.CODEBOOKS), strict=True):
        np.testing.assert_array_equal(read, book.astype(np.float32))


def test_embeddings_in_parts_and_in_place(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
    first = artifact.write_embeddings(tmp_path / "first", rows[:4])
    both = artifact.write_embeddings(tmp_path / "both", first, rows[4:])
    np.testing.assert_array_equal(both[:], rows)
    np.testing.assert_array_equal(load_file(tmp_path / "both")["embeddings"], rows)
    written = (tmp_path / "both").stat()
    same = artifact.write_embeddings(tmp_path / "both", both)  # the file itself: reading it while writing would lose it
    np.testing.assert_array_equal(same[:], rows)
    assert ((tmp_path / "both").stat().st_mtime_ns, same.path) == (written.st_mtime_ns, both.path)


def test_arrays_that_are_not_contiguous_and_files_that_are_no_safetensors(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    artifact.write_arrays(tmp_path / "arrays", {"a": array})
    np.testing.assert_array_equal(artifact.read_arrays(tmp_path / "arrays")["a"], array)
    (tmp_path / "bad").write_bytes(b"no tensors")
    for name in ("bad", "missing"):
        with pytest.raises(InputError, match=f"{name}: cannot be read as safetensors.*--force"):
            artifact.read_arrays(tmp_path / name)


def test_the_identity_depends_on_codebooks_codes_sizes_and_names() -> None:
    books, codes = [np.zeros((2, 3), np.float32)], np.array([[0], [1]], dtype=np.int32)
    identities = {
        artifact.identity(books, codes, [2]),
        artifact.identity([np.ones((2, 3), np.float32)], codes, [2]),
        artifact.identity(books, codes[::-1], [2]),
        artifact.identity(books, codes, [3]),
        artifact.identity(books, codes, [2], "onerec"),
    }
    assert len(identities) == 5
    same = artifact.identity([book.astype(np.float64) for book in books], codes.astype(np.int64), [2])
    assert same == artifact.identity(books, codes, [2])  # the number formats do not matter


def test_a_history_keeps_the_epochs_without_a_check(tmp_path: Path) -> None:
    artifact.write_history(tmp_path / "h.parquet", [{"epoch": 1, "use_0": None}, {"epoch": 2, "use_0": 0.5}])
    assert tables.read(tmp_path / "h.parquet").to_pydict() == {"epoch": [1, 2], "use_0": [None, 0.5]}
