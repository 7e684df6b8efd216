"""Columns as numbers, against the list of their texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.arrays.encoded import EncodedColumn, encode_ids, encode_strings

PATH = Path("a.csv")


def texts(column: EncodedColumn) -> list[str]:
    listed = column.texts.to_pylist()
    assert len(set(listed)) == len(listed)
    return [listed[code] for code in column.codes.tolist()]


IDS = [
    pa.chunked_array([["b", "a"], ["c", "a", "b"]]),
    pa.chunked_array([pa.array(["b", "a", "b"]).dictionary_encode(), pa.array(["c"]).dictionary_encode()]),
    # Dictionaries in another order than the column's, with an entry that no row has, and with one twice.
    pa.chunked_array([pa.DictionaryArray.from_arrays([2, 0, 2], ["a", "unused", "b"])]),
    pa.chunked_array([pa.DictionaryArray.from_arrays([2, 0, 1], ["a", "a", "b"])]),
    pa.chunked_array([pa.array(["b", "a"]).dictionary_encode(), pa.array(["b", "z"]).dictionary_encode()]),
    pa.chunked_array([pa.array([7, 7, 0, 12])]),
    pa.chunked_array([pa.array([7.0, 0.0, -0.0])]),
    pa.chunked_array([pa.array([b"x", b"y", b"x"])]),
    pa.chunked_array([pa.array(["b", "a"], pa.large_string())]),
]


@pytest.mark.parametrize("values", IDS, ids=lambda values: str(values.type))
def test_ids_are_those_of_the_list(values: Any) -> None:
    table = pa.table({"item_id": values})
    found = encode_ids(table, "item_id", PATH)
    assert texts(found) == tables.ids(table, "item_id", PATH) and found.codes.dtype == np.int32
    # Numbered in the order in which the column has them: so users stand in the order of the table.
    assert list(dict.fromkeys(found.codes.tolist())) == list(range(len(found.texts)))
    assert found.first_row(int(found.codes[1])) == 1 + texts(found).index(texts(found)[1])


NOT_UTF8 = pa.DictionaryArray.from_arrays([1, 0], pa.array([b"\xff", b"a"]).view(pa.string()))


@pytest.mark.parametrize(
    "values",
    [
        *(["a", None], ["a", ""], ["", "a"], ["a", "\u3000 "], [1, None], [1.5], [True], [b"a", b"\xff"]),
        *(pa.array(["a", None]).dictionary_encode(), pa.array(["a", ""]).dictionary_encode(), NOT_UTF8),
    ],
)
def test_ids_with_a_fault_are_refused_in_the_same_words(values: Any) -> None:
    table = pa.table({"item_id": values})
    with pytest.raises(InputError) as expected:
        tables.ids(table, "item_id", PATH)
    with pytest.raises(InputError) as found:
        encode_ids(table, "item_id", PATH)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.int64(), pa.dictionary(pa.int8(), pa.string())])
def test_a_column_without_rows_has_no_texts(kind: pa.DataType) -> None:
    for chunks in ([], [pa.array([], kind)]):
        table = pa.table({"item_id": pa.chunked_array(chunks, kind)})
        for encode in (encode_ids, encode_strings):
            found = encode(table, "item_id", PATH)
            assert (found.codes.tolist(), found.texts.to_pylist()) == ([], []) and found.codes.dtype == np.int32


@pytest.mark.parametrize("values", [[" a", "a ", None, "", "b"], [1, 2, 1], [1.5, None], [["x", "y"], ["x"]]])
def test_texts_are_those_of_the_list(values: list[Any]) -> None:
    table = pa.table({"intent": values})
    found = encode_strings(table, "intent", PATH)
    assert texts(found) == tables.strings(table, "intent", PATH) and found.codes.dtype == np.int32


@pytest.mark.parametrize("values", [[{"a": 1}], [b"\xff"]])
def test_texts_with_a_fault_are_refused_in_the_same_words(values: list[Any]) -> None:
    table = pa.table({"intent": values})
    with pytest.raises(InputError) as expected:
        tables.strings(table, "intent", PATH)
    with pytest.raises(InputError) as found:
        encode_strings(table, "intent", PATH)
    assert str(found.value) == str(expected.value)
