"""Figures of rows, against numpy and against `gti diagnose`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.checkpoints.codebook_vectors import match_codebooks
from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.diagnostics.measure import rsa_figures
from gti_cli.grounding.row_figures import comparable_vectors, matrix_figures, row_figures
from gti_cli.tensors.codebooks import read_codebooks


def with_one_level_more(tokens: NewTokens) -> NewTokens:
    """And a code of a level that has no codebook."""
    return NewTokens(
        [*tokens.names, "<c_0>"],
        np.append(tokens.ids, 999),
        np.append(tokens.levels, np.int32(2)),
        np.append(tokens.codes, np.int32(0)),
    )


def test_rsa_is_that_of_diagnose(make_world: Any) -> None:
    world = make_world()
    rows = np.random.default_rng(0).normal(size=(7, 16)).astype(np.float32)
    path = world.workspace / "codebooks.safetensors"
    found = row_figures(rows, comparable_vectors(path, world.tokens), 0)
    expected = rsa_figures(rows, match_codebooks(world.tokens, read_codebooks(path), "here"))
    assert found["rsa_pearson"] == expected["rsa_pearson"] and found["rsa_spearman"] == expected["rsa_spearman"]
    longer = np.vstack([rows, rows[:1]])
    more = with_one_level_more(world.tokens)
    assert row_figures(longer, comparable_vectors(path, more), 0)["rsa_pearson"] == found["rsa_pearson"]


def test_rows_that_are_all_equal_have_no_correlation(make_world: Any) -> None:
    world = make_world()
    vectors = comparable_vectors(world.workspace / "codebooks.safetensors", world.tokens)
    found = row_figures(np.ones((7, 16), np.float32), vectors, 0)
    assert found["rsa_pearson"] is None and found["rsa_spearman"] is None
    assert found["effective_rank"] == pytest.approx(1.0)


@given(st.integers(2, 8), st.integers(2, 6), st.integers(0, 20))
def test_effective_rank_is_the_exponential_of_the_entropy(count: int, width: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    values = np.linalg.svd(rows.astype(np.float64), compute_uv=False)
    shares = values / values.sum()
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert row_figures(rows, None, 0) == {"effective_rank": pytest.approx(expected, rel=1e-6)}
    some = np.arange(0, count, 2)
    assert row_figures(rows, None, 0, some) == row_figures(rows[some], None, 0)


def test_figures_of_several_matrices_have_their_prefix(make_world: Any) -> None:
    world = make_world()
    vectors = comparable_vectors(world.workspace / "codebooks.safetensors", world.tokens)
    embedding, output = np.random.default_rng(0).normal(size=(2, 7, 16)).astype(np.float32)
    found = matrix_figures({"": embedding, "output_": output}, vectors, 0)
    assert found == {
        **row_figures(embedding, vectors, 0),
        **{f"output_{name}": value for name, value in row_figures(output, vectors, 0).items()},
    }
    assert len(found) == 6


def test_fewer_than_three_codes_are_not_compared(make_world: Any) -> None:
    world = make_world()
    path, tokens = world.workspace / "codebooks.safetensors", world.tokens
    words = NewTokens(tokens.names, tokens.ids, np.full(7, -1, np.int32), np.full(7, -1, np.int32))
    assert comparable_vectors(path, words) is None
    numbers, vectors = comparable_vectors(path, tokens)  # type: ignore[misc]
    assert numbers.tolist() == list(range(7)) and vectors.shape == (7, 5)
