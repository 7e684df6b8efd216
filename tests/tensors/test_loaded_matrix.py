"""Rows of a matrix in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gti_cli.tensors.loaded_matrix import LoadedMatrix


def test_rows_and_blocks_are_those_of_the_matrix() -> None:
    numbers = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    matrix = LoadedMatrix("head", Path("folder"), numbers)
    expected = numbers.float().numpy()
    assert matrix.shape == (7, 3)
    assert np.array_equal(matrix.rows([5, 0, 5]), expected[[5, 0, 5]])
    blocks = list(matrix.blocks(np.array([6, 1, 2, 3, 4]), 2))
    assert [ids.tolist() for ids, _ in blocks] == [[6, 1], [2, 3], [4]]
    assert np.array_equal(np.concatenate([rows for _, rows in blocks]), expected[[6, 1, 2, 3, 4]])
    assert matrix.rows([]).shape == (0, 3)
    for outside in (-1, 7):
        with pytest.raises(IndexError, match="0 … 6"):
            matrix.rows([outside])
