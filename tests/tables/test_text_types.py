"""Texts and ids in every type that Parquet files have for them."""

from __future__ import annotations

import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.text_types import number_texts, plain_type, text_column

TEXTS = ["007", "grün", None]
KINDS = [
    pa.string(),
    pa.large_string(),
    pa.binary(),
    pa.large_binary(),
    pa.string_view(),
    pa.binary_view(),
    pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.int8(), pa.large_string()),
    pa.dictionary(pa.int32(), pa.binary()),
]


def of_kind(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(values, kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_texts_of_every_type(kind: pa.DataType) -> None:
    column = of_kind([text.encode() if text and "binary" in str(kind) else text for text in TEXTS], kind)
    table = pa.table({"x": pa.chunked_array([column.slice(0, 1), column.slice(1)])})
    assert tables.strings(table, "x", "t") == ["007", "grün", ""]
    assert tables.ids(table.slice(0, 2), "x", "t") == ["007", "grün"]
    copied = text_column(table, "x")
    assert copied is not None and copied.to_pylist() == TEXTS


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_lists_of_texts_of_every_type(kind: pa.DataType) -> None:
    inner = of_kind([b"a", b"b", b"c"] if "binary" in str(kind) else ["a", "b", "c"], kind)
    for column in (
        pa.ListArray.from_arrays([0, 2, 3], inner),
        pa.LargeListArray.from_arrays([0, 2, 3], inner),
        pa.FixedSizeListArray.from_arrays(inner.slice(0, 2), 1),
    ):
        expected = ["a > b", "c"] if not pa.types.is_fixed_size_list(column.type) else ["a", "b"]
        assert tables.strings(pa.table({"x": column}), "x", "t") == expected


def test_binary_texts_of_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"item_id": [b"a", b"b"], "picture": [b"\xff\xd8", b"\x00"], "title": [b"x", "grün".encode()]}), path
    )
    read = tables.read(path, ["item_id"])
    assert tables.ids(read, "item_id", path) == ["a", "b"]
    assert tables.strings(read, "title", path) == ["x", "grün"]
    assert text_column(read, "picture") is None  # nobody is refused for a column that nobody reads
    with pytest.raises(InputError, match=r"column 'picture', row 1: the bytes are no text in UTF-8"):
        tables.strings(read, "picture", path)


def test_bytes_that_are_no_text_are_named_by_their_row() -> None:
    late = pa.table({"x": pa.chunked_array([[b"a", b"b"], [None, b"\xff"]])})
    with pytest.raises(InputError, match="row 4: the bytes are no text"):
        tables.ids(late, "x", "t")
    with pytest.raises(InputError, match="row 2: the bytes are no text"):
        tables.strings(pa.table({"x": [[b"a"], [b"b", b"\xff"]]}), "x", "t")


@pytest.mark.parametrize(
    ("values", "texts", "is_said"),
    [
        (pa.array([7.0, -3.0, 2.0**52]), ["7", "-3", "4503599627370496"], True),
        (pa.array([7, 8], pa.float32()), ["7", "8"], True),
        (pa.array(np.array([7, 8], np.float16)), ["7", "8"], True),
        (pa.array([Decimal("7.00"), Decimal("8.00")]), ["7", "8"], True),
        (pa.array([Decimal(10**30)], pa.decimal128(38, 0)), [str(10**30)], False),
        (pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1)], False),
    ],
)
def test_ids_that_are_whole_numbers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, values: pa.Array, texts: list[str], is_said: bool
) -> None:
    assert tables.ids(pa.table({"x": values}), "x", tmp_path / "t") == texts
    said = capsys.readouterr().err
    assert (f"its {len(texts)} ids became whole numbers" in said) == is_said == bool(said)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([1.0, 1.5]), "row 2: the id 1.5 is no whole number"),
        (pa.array([1.0, None]), "row 2: the id is missing"),
        (pa.array([1.0, float("nan")]), "row 2: the id is missing"),
        (pa.array([float("inf")]), "row 1: the id inf is too large"),
        (pa.array([2.0**53]), "row 1: the id 9007199254740992 is too large for double"),
        (pa.array([2.0**24], pa.float32()), "row 1: the id 16777216 is too large for float"),
        (pa.array([Decimal("1.00"), Decimal("1.50")]), "row 2: the id 1.50 is no whole number"),
        (pa.array([True]), "strings or integers, not bool"),
        (pa.array([["a"]]), "strings or integers, not list"),
    ],
)
def test_numbers_that_are_no_ids(values: pa.Array, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tables.ids(pa.table({"x": values}), "x", "t")


def test_numbers_as_people_write_them() -> None:
    floats = [12.9, 15.0, 0.1, 1e-7, 123456789.5, -0.5]
    assert number_texts(pa.chunked_array([floats])) == ["12.9", "15", "0.1", "0.0000001", "123456789.5", "-0.5"]
    assert number_texts(pa.chunked_array([pa.array(floats, pa.float32())]))[0] == "12.9"
    assert number_texts(pa.chunked_array([[None, float("nan"), 1.0]])) == ["", "", "1"]
    assert tables.strings(pa.table({"price": [Decimal("12.90"), None]}), "price", "t") == ["12.90", ""]
    for text, number in zip(number_texts(pa.chunked_array([floats])), floats, strict=True):
        assert float(text) == number


def test_uuids_are_ids() -> None:
    names = [uuid.UUID(int=1), uuid.UUID(int=2)]
    column = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([name.bytes for name in names], pa.binary(16)))
    assert tables.ids(pa.table({"x": column}), "x", "t") == [str(name) for name in names]


def test_other_types_stay() -> None:
    for kind in (pa.int64(), pa.list_(pa.float32()), pa.struct([("a", pa.binary())]), pa.timestamp("ms"), pa.null()):
        assert plain_type(kind) == kind
