"""Small files that would fill the memory are refused before they do; ordinary files are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.sources import oversized


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oversized, "MOST_BYTES", 1_000_000)
    monkeypatch.setattr(oversized, "MANY_VALUES", 200_000)


def write_arrow(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


def write_compressed(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table, max_chunksize=10)


TEXT = "silk " * 200
FILES: dict[str, tuple[Any, Any, str]] = {
    "one text in many rows": (pa.array([TEXT] * 20_000), pq.write_table, "grows from"),
    "lists of one text": (pa.array([[TEXT] * 20] * 1000), pq.write_table, "grows from"),
    "a long text, compressed": (
        pa.array([TEXT * 2000]), lambda t, p: pq.write_table(t, p, compression="zstd",
            use_dictionary=False), "grows from"
    ),
    "lists of zeros": (pa.array([[0.0] * 3000] * 100), pq.write_table, "values in a column"),
    "nothing": (pa.nulls(300_000), write_arrow, "300,000 rows"),
    "a dictionary in Arrow": (pa.array([TEXT * 10] * 3000).dictionary_encode(), write_arrow, "grows from"),
    "long texts in Arrow, compressed": (pa.array([TEXT * 100] * 30), write_compressed, "grows from"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_what_would_fill_the_memory(name: str, tmp_path: Path) -> None:
    column, write, message = FILES[name]
    path = tmp_path / f"t.{'arrow' if write in (write_arrow, write_compressed) else 'parquet'}"
    write(pa.table({"title": column}), path)
    for encoded in ([], ["title"]):
        with pytest.raises(InputError, match=rf"t\.\w+: .*{message}"):
            tables.read(path, encoded=encoded)


def test_many_rows_of_few_brands_are_read(tmp_path: Path) -> None:
    brands = pa.array([f"brand {n % 7}" for n in range(30_000)])
    pq.write_table(pa.table({"brand": brands, "item_id": [f"i{n}" for n in range(30_000)]}), tmp_path / "t.parquet")
    assert tables.read(tmp_path / "t.parquet").num_rows == 30_000


def test_a_footer_whose_damage_would_end_the_process(tmp_path: Path) -> None:
    """A histogram in the place of another one: pyarrow's metadata throws where nothing catches it."""
    path = tmp_path / "t.parquet"
    table = pa.table({"e": pa.array([[1.0, 2.0, None], [3.0]] * 20)})
    pq.write_table(table, path)
    assert tables.read(path).equals(table)
    # Thrift: a struct (0x3c) whose second field (0x29) is a list of two numbers (0x26); then it is the third.
    content = path.read_bytes()
    if content.count(b"\x3c\x29\x26") != 1:
        pytest.skip("this version of pyarrow writes no histograms")
    path.write_bytes(content.replace(b"\x3c\x29\x26", b"\x3c\x39\x26"))
    with pytest.raises(InputError, match=r"cannot be read as parquet: .*histogram"):
        tables.read(path)
