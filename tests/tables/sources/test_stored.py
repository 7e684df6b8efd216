"""Parquet and Arrow files: columns that are left on disk come block by block, in the order of the rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gti_cli import tables
from gti_cli.errors import InputError


def write_arrow(path: Path, table: pa.Table, kind: str) -> None:
    new = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
    with new(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)


def in_parts(folder: Path, vectors: np.ndarray, kind: str) -> str:
    """Write the vectors as three files; returns their glob."""
    for number, rows in enumerate(np.split(np.arange(20), [5, 6])):
        table = pa.table({"id": rows, "vector": pa.FixedSizeListArray.from_arrays(vectors[rows].ravel(), 4)})
        if kind == "parquet":
            tables.write(folder / f"{number}.parquet", table)
        else:
            write_arrow(folder / f"{number}.arrow", table, kind)
    return f"{folder}/*.{'parquet' if kind == 'parquet' else 'arrow'}"


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
@pytest.mark.parametrize(
    ("rows", "part"), [("", slice(None)), (":train[4:9]", slice(4, 9)), (":train[6:7]", slice(6, 7))]
)
def test_a_column_that_is_skipped_comes_in_blocks(
    tmp_path: Path, vectors: np.ndarray, kind: str, rows: str, part: slice
) -> None:
    place = tables.locate(in_parts(tmp_path, vectors, kind) + rows, "item_id=id,embedding=vector")
    table = tables.read(place, ["item_id"], skip=["embedding"])
    assert table.to_pydict() == {"item_id": list(range(20))[part]}
    assert tables.column_names(place, table) == ["item_id", "embedding"]
    blocks = [tables.vectors(block, "embedding", place) for block in tables.column_blocks(place, "embedding", 3)]
    assert max(map(len, blocks)) <= 3
    np.testing.assert_array_equal(np.vstack(blocks), vectors[part])


def test_a_damaged_arrow_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.arrow").write_bytes(b"no arrow at all")
    with pytest.raises(InputError, match=r"t.arrow: cannot be read as arrow: .* write it again"):
        tables.read(tmp_path / "t.arrow")
