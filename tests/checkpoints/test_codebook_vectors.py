"""Codebook vectors of the new tokens that are codes."""

import numpy as np
import pytest

from gti_cli.checkpoints.codebook_vectors import match_codebooks
from gti_cli.errors import InputError
from tests.support.diagnostics import SIZES, codebooks, tokens_of


def test_each_code_gets_its_vector_and_others_none():
    books = codebooks((3, 2))
    tokens = tokens_of([1, 0, 0, -1, 0, 1, 2], [1, 2, 0, -1, 1, 0, 5])  # level 2 is a suffix level, without codebook
    matched = match_codebooks(tokens, books, "x")
    assert matched.rows.tolist() == [1, 2, 4, 0, 5]
    expected = [books[0][2], books[0][0], books[0][1], books[1][1], books[1][0]]
    assert np.array_equal(matched.matrix(), np.stack(expected))
    rows, vectors = matched.by_level()[1]
    assert rows.tolist() == [0, 5]
    assert np.array_equal(vectors, expected[3:])


def test_levels_of_other_widths_cannot_be_compared():
    books = [np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)]
    matched = match_codebooks(tokens_of([0, 0, 1, 1], [0, 1, 0, 1]), books, "x")
    assert matched.matrix() is None
    assert matched.by_level()[1][1].shape == (2, 4)


def test_codebooks_of_other_sizes_are_refused_and_parts_allowed():
    few = tokens_of([0, 0], [0, 1])
    with pytest.raises(InputError, match=r"2 tokens of level 0 and the codebook 6 codes"):
        match_codebooks(few, codebooks(SIZES), "x")
    assert len(match_codebooks(few, codebooks(SIZES), "x", part=True).rows) == 2
    with pytest.raises(InputError, match="level 0"):
        match_codebooks(tokens_of([0] * 7, range(7)), codebooks(SIZES), "x", part=True)
