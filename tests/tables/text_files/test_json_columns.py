"""One field of a JSONL file, part by part."""

from __future__ import annotations

import pyarrow as pa
import pytest

from gti_cli.tables.text_files.json_columns import JsonColumn


def test_parts_of_a_column_find_their_common_type() -> None:
    column = JsonColumn(absent=1)
    for line, values in ((2, [None, 1]), (4, [2.5]), (5, [None])):
        column.extend(range(line, line + len(values)), values)
    field, values = column.finish("x", 5, "t", times=False)
    assert (field.type, values.to_pylist(), column.fault) == (pa.float64(), [None, None, 1, 2.5, None], "")


def test_a_fault_stays_the_first_one() -> None:
    column = JsonColumn(absent=0)
    column.extend([1, 2], ["x", 5])
    column.extend([3], [["y"]])
    field, values = column.finish("x", 3, "t", times=False)
    assert (column.line, column.fault) == (2, "a number where line 1 has a text")
    assert len(values) == 3 == values.null_count and pa.types.is_struct(field.type)


@pytest.mark.parametrize(("texts", "kind"), [(["2024-01-01"], pa.timestamp("s")), (["2024-01-01", "x"], pa.string())])
def test_times(texts: list[str], kind: pa.DataType) -> None:
    column = JsonColumn(absent=0)
    column.extend(range(len(texts)), texts)
    assert column.finish("x", len(texts), "t", times=True)[0].type == kind
