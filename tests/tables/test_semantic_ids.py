"""`semantic_ids.parquet`: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.semantic_ids import read_semantic_ids

GOOD = {"item_id": ["x", "y"], "codes": [[1, 2], [3, 4]], "tokens": ["<a_1><b_2>", "<a_3><b_4>"]}
CODES = hnp.arrays(
    np.int32,
    st.tuples(st.integers(1, 5), st.integers(1, 4)),
    elements=st.integers(0, 1 << 20),  # below 2**24, where float32, through which the codes pass, is exact
)


@settings(max_examples=30)
@given(codes=CODES)
def test_what_is_written_comes_back(tmp_path_factory: pytest.TempPathFactory, codes: np.ndarray) -> None:
    path = tmp_path_factory.getbasetemp() / "semantic_ids.parquet"
    ids = [f"item {row}" for row in range(len(codes))]
    tokens = ["".join(f"<{code}>" for code in row) for row in codes]
    tables.write(path, {"item_id": ids, "codes": codes.tolist(), "tokens": tokens})
    read = read_semantic_ids(path)
    assert (read.item_ids, read.tokens, read.levels) == (ids, tokens, codes.shape[1])
    assert read.codes.dtype == np.int32
    np.testing.assert_array_equal(read.codes, codes)
    assert [ids[row] for row in read.row_of().values()] == list(read.row_of()) == ids


def test_integer_ids_and_fixed_size_lists(tmp_path: Path) -> None:
    codes = pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, 4], pa.int16()), 2)
    tables.write(tmp_path / "t.parquet", {**GOOD, "item_id": [7, 8], "codes": codes})
    read = read_semantic_ids(tmp_path / "t.parquet")
    assert read.row_of() == {"7": 0, "8": 1} and read.codes.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item_id": ["x", "x"]}, "row 2: duplicate id 'x'"),
        ({"codes": [[1, 2], [3]]}, "row 2: 1 numbers where the first row has 2"),
        ({"codes": [[1, 2], None]}, "row 2: the vector is missing"),
        ({"codes": ["a", "b"]}, "'a' is no number"),
        ({"tokens": [{"a": 1}, {"a": 2}]}, "column 'tokens'"),
    ],
)
def test_bad_tables(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    tables.write(tmp_path / "t.parquet", {**GOOD, **change})
    with pytest.raises(InputError, match=message) as caught:
        read_semantic_ids(tmp_path / "t.parquet")
    assert str(caught.value).startswith(str(tmp_path / "t.parquet"))


@pytest.mark.parametrize("column", GOOD)
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    tables.write(tmp_path / "t.parquet", {name: values for name, values in GOOD.items() if name != column})
    with pytest.raises(InputError, match=f"column '{column}' is missing"):
        read_semantic_ids(tmp_path / "t.parquet")
