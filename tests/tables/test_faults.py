"""Columns that cannot be used are refused by whoever reads them, and by nobody else."""

from __future__ import annotations

import pyarrow as pa
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.faults import faulty_column, share_faults
from gti_cli.tables.text_types import text_column

PROBLEM = "a text where line 1 has a list"


def test_only_who_reads_a_faulty_column_is_refused() -> None:
    field, values = faulty_column("x", 2, "t", 7, PROBLEM)
    table = pa.table([values, pa.array(["a", "b"])], schema=pa.schema([field, pa.field("y", pa.string())]))
    assert tables.strings(table, "y", "t") == ["a", "b"] and text_column(table, "x") is None
    for read in (tables.ids, tables.strings, tables.integers, tables.vectors):
        with pytest.raises(InputError, match=f"^t, column 'x', line 7: {PROBLEM}"):
            read(table.select(["x"]), "x", "other")


def test_a_column_that_is_faulty_in_one_part_is_faulty_in_all() -> None:
    field, values = faulty_column("x", 1, "b", 7, PROBLEM)
    parts = [
        pa.table({"x": ["a", "b"], "y": [1, 2]}),
        pa.table([values, pa.array([3])], schema=pa.schema([field, pa.field("y", pa.int64())])),
    ]
    joined = pa.concat_tables(share_faults(parts), promote_options="permissive").rename_columns(["z", "y"])
    assert joined.column("y").to_pylist() == [1, 2, 3]
    with pytest.raises(InputError, match=f"^b, column 'z', line 7: {PROBLEM}"):
        tables.strings(joined, "z", "folder")
