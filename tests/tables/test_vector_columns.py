"""Vectors: lists of numbers, and texts that show them; a fault is named by its row."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables import vector_columns as module

MATRICES = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-1e6, 1e6, width=32)
)


def read(values: Any, **given: Any) -> np.ndarray:
    return tables.vectors(pa.table({"embedding": values}), "embedding", "items.csv", **given)


@given(MATRICES)
def test_vectors_come_back(matrix: np.ndarray) -> None:
    kinds = [pa.array(matrix.tolist()), pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])]
    for column in kinds:
        np.testing.assert_array_equal(read(column), matrix)


@given(MATRICES)
def test_vectors_written_as_text_come_back_to_the_bit(matrix: np.ndarray) -> None:
    with np.printoptions(floatmode="unique", threshold=100):
        for write in (
            str,
            repr,
            lambda row: str(row.tolist()),
            lambda row: str(list(row)),
            lambda row: str([row.tolist()]),
        ):
            texts = [write(row) for row in matrix]
            for kind in (pa.string(), pa.large_string(), pa.binary()):
                column = pa.array([text.encode() for text in texts], pa.binary()).cast(kind)
                np.testing.assert_array_equal(read(column), matrix)


@pytest.mark.parametrize(
    "text",
    [
        "[1.5, -2e-3]",
        "[1.5 -2.e-03]",
        " [ 1.5\n -0.002 ] ",
        "1.5,-0.002",
        "1.5 -0.002",
        "(1.5, -0.002)",
        "[[1.5, -0.002]]",
        "array([1.5, -0.002], dtype=float32)",
        "np.array([1.5, -0.002])",
        "tensor([1.5, -0.002], device='cuda:0')",
        "[np.float32(1.5), np.float64(-0.002)]",
    ],
)
def test_ways_to_write_a_vector(text: str) -> None:
    np.testing.assert_array_equal(read([text, "[1.5, -0.002]"]), np.float32([[1.5, -0.002]] * 2))


def test_a_number_is_rounded_once() -> None:
    # Halfway between two float32, and a bit more: rounding to float64 first would lose the bit.
    text = "1.0000000596046448475"
    assert np.float32(np.float64(text)) == 1.0
    assert read([f"[{text}]"])[0, 0] == np.nextafter(np.float32(1), np.float32(2))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0], [1.0, 2.0]], "row 2: 2 numbers where the first row has 1"),
        ([[], [1.0, 2.0]], "row 1: the vector is empty"),
        ([[1.0, 2.0], [], [3.0, 4.0]], "row 2: the vector is empty"),
        ([[1.0], None], "row 2: the vector is missing"),
        ([[1.0, 2.0], [1.0, None]], "row 2: a number is missing"),
        ([[None], [None]], "row 1: a number is missing"),
        ([[1.0], [float("nan")]], "row 2: the vector holds NaN or infinity"),
        ([[1.0], [float("inf")]], "row 2: the vector holds NaN or infinity"),
        ([[]], "row 1: the vector is empty"),
        ([1.0], "must be lists of numbers, not double"),
        ([["a"]], "must be lists of numbers, not of string"),
        (["[1, 2]", "[]", "[3, 4]"], "row 2: the vector is empty"),
        (["[]", "[3, 4]"], "row 1: the vector is empty"),
        (["[1]", None], "row 2: the vector is missing"),
        (["[1]", " "], "row 2: the vector is missing"),
        (["[1, 2]", "[1, 2, 3]"], "row 2: 3 numbers where the first row has 2"),
        (["[1, 2]", "[1 2 ... 3]"], "row 2: '...' stands for numbers that were left out"),
        (["[1, 2]", "[1, 2"], "row 2: the list has no end"),
        (["[1, 2]", "[1,, 2]"], "row 2: a number is missing between two commas"),
        (["[1, 2]", "[1, x2]"], "row 2: 'x2' is no number"),
        (["[1, 2]", "[1, None]"], "row 2: 'None' is no number"),
        (["[1, 2]", "0,5 1,5"], "row 2: '5 1' is no number"),
        (["[1, 2]", "[1, nan]"], "row 2: the vector holds NaN or infinity"),
        (["a red hat"], "row 1: 'a' is no number"),
    ],
)
def test_bad_vectors(values: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        read(values)
    assert raised.value.remedy


def test_rows_of_later_parts_have_their_own_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TEXTS_AT_ONCE", 2)
    texts = ["[1, 2]", "[3, 4]", "[5, 6]", "[7, 8]", "[9, 10]"]
    np.testing.assert_array_equal(read(texts), np.arange(1, 11, dtype=np.float32).reshape(5, 2))
    with pytest.raises(InputError, match=r"row 15: 'y' is no number"):
        read([*texts[:4], "[9, y]"], first_row=11)
    with pytest.raises(InputError, match=r"row 13: 3 numbers where the first row has 2"):
        read(["[1, 2]", "[1, 2]", "[1, 2, 3]"], first_row=11)
    with pytest.raises(InputError, match=r"row 11: 2 numbers where the first row has 3"):
        read(texts, first_row=11, width=3)


def test_decimals_are_numbers() -> None:
    np.testing.assert_array_equal(read(pa.array([[Decimal("0.5"), Decimal("1.5")]])), [[0.5, 1.5]])


def test_a_csv_file_with_vectors(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('item_id,embedding\na,"[0.1, 0.2]"\nb,[0.3  0.4]\n')
    table = tables.read(tmp_path / "t.csv")
    np.testing.assert_array_equal(tables.vectors(table, "embedding", "t.csv"), np.float32([[0.1, 0.2], [0.3, 0.4]]))
