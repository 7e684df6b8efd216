"""Sizes of compressed buffers of Arrow files, against those of the table that was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.sources.arrow_buffers import plain_bytes

COLUMNS = {
    "text": ["silk " * 20] * 500,
    "number": range(500),
    "brand": pa.array(["q", "r"] * 250).dictionary_encode(),
    "vector": [[1.0, None]] * 500,
    "nothing": pa.nulls(500, pa.int8()),
    "noise": [bytes((n * n + k) % 251 for k in range(4)) for n in range(500)],
}


def written(path: Path, new: Any, compression: str | None) -> pa.Table:
    table = pa.table({name: pa.array(values) for name, values in COLUMNS.items()})
    with new(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=100)
    return table


@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_the_sizes_are_those_of_the_table(tmp_path: Path, new: Any, compression: str) -> None:
    path = tmp_path / "t.arrow"
    table = written(path, new, compression)
    with pa.memory_map(str(path)) as source:
        assert table.nbytes <= plain_bytes(source) < table.nbytes + 100 * len(COLUMNS) * 5  # bits take whole bytes
    assert tables.read(path).equals(table)
    written(path, new, None)
    with pa.memory_map(str(path)) as source:
        assert plain_bytes(source) == 0


@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
def test_damage_anywhere_is_refused_or_does_not_matter(tmp_path: Path, new: Any) -> None:
    path = tmp_path / "t.arrow"
    written(path, new, "lz4")
    content = path.read_bytes()
    for place in range(0, len(content), 61):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x81]) + content[place + 1 :])
        try:
            tables.read(path)
        except InputError as error:
            assert str(path) in str(error)
