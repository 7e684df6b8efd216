"""Codebooks in a safetensors file, against what the safetensors package reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from gti_cli.errors import InputError
from gti_cli.tensors.codebooks import read_codebooks


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=12), st.booleans())
def test_levels_come_in_numeric_order(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, int]], half: bool
) -> None:
    """With more than ten levels, the order by number (2 before 10) differs from the order by name."""
    file = tmp_path_factory.mktemp("codebooks") / "c.safetensors"
    rng = np.random.default_rng(0)
    expected = [rng.standard_normal(shape).astype(np.float16 if half else np.float32) for shape in shapes]
    stored = {f"level_{level}": book for level, book in enumerate(expected)}
    save_file({**stored, "other": np.zeros(3)}, file)
    codebooks = read_codebooks(file)
    assert len(codebooks) == len(expected)
    for book, reference in zip(codebooks, expected, strict=True):
        assert book.dtype == np.float32
        np.testing.assert_array_equal(book, reference)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": np.zeros((2, 2))}, "does not hold codebooks"),
        ({"level_0": np.zeros((2, 2)), "level_2": np.zeros((2, 2))}, "gap"),
        ({"level_0": np.zeros(4)}, "not a matrix"),
        ({"level_0": np.full((2, 2), np.nan)}, "NaN"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    save_file({name: array.astype(np.float32) for name, array in arrays.items()}, tmp_path / "c.safetensors")
    with pytest.raises(InputError, match=message):
        read_codebooks(tmp_path / "c.safetensors")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_codebooks(tmp_path / "absent.safetensors")
