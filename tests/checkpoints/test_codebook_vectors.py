import numpy as np
import pytest
from safetensors.numpy import save_file

from gti_cli.checkpoints.codebook_vectors import match_codebooks
from gti_cli.errors import InputError
from gti_cli.tensors.codebooks import read_codebooks
from tests.support.diagnostics import SIZES, codebooks, tokens_of, write_codebooks


def test_each_code_gets_its_vector_and_others_none(tmp_path):
    books = read_codebooks(write_codebooks(tmp_path / "c.safetensors", (3, 2)))
    tokens = tokens_of([1, 0, 0, -1, 0, 1, 2], [1, 2, 0, -1, 1, 0, 5])  # level 2 is a suffix level, without codebook
    oracle = match_codebooks(tokens, books, "x")
    assert oracle.rows.tolist() == [1, 2, 4, 0, 5]
    wanted = [books[0][2], books[0][0], books[0][1], books[1][1], books[1][0]]
    assert np.array_equal(oracle.matrix(), np.stack(wanted))
    rows, vectors = oracle.by_level()[1]
    assert rows.tolist() == [0, 5]
    assert np.array_equal(vectors, wanted[3:])


def test_levels_of_other_widths_cannot_be_compared():
    books = [np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)]
    oracle = match_codebooks(tokens_of([0, 0, 1, 1], [0, 1, 0, 1]), books, "x")
    assert oracle.matrix() is None
    assert oracle.by_level()[1][1].shape == (2, 4)


def test_codebooks_of_other_sizes_are_refused_and_parts_allowed():
    few = tokens_of([0, 0], [0, 1])
    with pytest.raises(InputError, match=r"2 tokens of level 0 and the codebook 6 codes"):
        match_codebooks(few, codebooks(SIZES), "x")
    assert len(match_codebooks(few, codebooks(SIZES), "x", part=True).rows) == 2
    with pytest.raises(InputError, match="level 0"):
        match_codebooks(tokens_of([0] * 7, range(7)), codebooks(SIZES), "x", part=True)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": np.zeros((2, 2))}, "no codebooks"),
        ({"level_0": np.zeros((2, 2)), "level_2": np.zeros((2, 2))}, "gap"),
        ({"level_0": np.zeros(4)}, "no matrix"),
        ({"level_0": np.full((2, 2), np.nan)}, "NaN"),
    ],
)
def test_bad_files(tmp_path, arrays, message):
    save_file({name: array.astype(np.float32) for name, array in arrays.items()}, tmp_path / "c.safetensors")
    with pytest.raises(InputError, match=message):
        read_codebooks(tmp_path / "c.safetensors")
    with pytest.raises(InputError, match="no such file"):
        read_codebooks(tmp_path / "absent.safetensors")
