"""Columns that stay arrays have the values, and the faults, of columns that become lists."""

from __future__ import annotations

import sys
from typing import Any

import pyarrow as pa
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.arrays.name_columns import text_names, unique_names


@pytest.mark.parametrize("values", [["a", "b"], [7, 8], [b"a", b"b"], [1.0, 2.0]])
def test_unique_ids(values: list[Any]) -> None:
    table = pa.table({"item_id": values})
    assert list(unique_names(table, "item_id", "t")) == tables.ids(table, "item_id", "t", unique=True)


@pytest.mark.parametrize("values", [["a", "b", "a"], ["a", None], ["a", " "], [1.5]])
def test_faults_of_ids(values: list[Any]) -> None:
    table = pa.table({"item_id": values})
    with pytest.raises(InputError) as expected:
        tables.ids(table, "item_id", "t", unique=True)
    with pytest.raises(InputError) as found:
        unique_names(table, "item_id", "t")
    assert str(found.value) == str(expected.value)


def test_texts() -> None:
    spaces = "".join(map(chr, range(sys.maxunicode + 1))).encode("utf-16", "surrogatepass").decode("utf-16", "ignore")
    every_space = [f"{mark}x{mark}" for mark in spaces if mark.isspace() or not mark.isprintable()][:3000]
    for values in (["a", " b ", None, ""], [1, None], [0.5, 2.0], [["x", "y"], []], every_space):
        table = pa.table({"title": values})
        assert list(text_names(table, "title", "t")) == tables.strings(table, "title", "t")
