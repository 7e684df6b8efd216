"""Extension of a loaded model; test_architectures.py compares it with extension by files on every architecture."""

from __future__ import annotations

import re

import pytest
import torch

from gti_cli.errors import InputError
from gti_cli.vocabulary.in_memory import add_tokens, head_bias, matrices
from gti_cli.vocabulary.initializers.from_pretrained_rows import FROM_PRETRAINED
from gti_cli.vocabulary.tokens_to_add import TokensToAdd
from tests.support.models import make_tokenizer
from tests.support.vocabulary import lm

NAMES = [f"<a_{code}>" for code in range(7)]


@pytest.mark.parametrize("init", FROM_PRETRAINED)
def test_untied_matrices_start_each_from_their_own_rows(init: str) -> None:
    tokenizer = make_tokenizer()
    size = len(tokenizer)
    model = lm("llama", size, tied=False)
    with torch.no_grad():
        model.get_output_embeddings().weight.add_(3)
    add_tokens(model, tokenizer, TokensToAdd(NAMES), init, torch.Generator().manual_seed(0))
    embedding, head = matrices(model)
    assert (embedding[size:].mean() - embedding[:size].mean()).abs() < 0.5
    assert (head[size:].mean() - head[:size].mean()).abs() < 0.5


@pytest.mark.parametrize("init", FROM_PRETRAINED)
def test_an_old_row_that_is_no_number_is_named(init: str) -> None:
    tokenizer = make_tokenizer()
    model = lm("qwen3", len(tokenizer), tied=False)
    with torch.no_grad():
        matrices(model)[1][7, 3] = float("nan")
    name = re.escape(repr(tokenizer.convert_ids_to_tokens(7)))
    with pytest.raises(InputError, match=rf"row 7: the row of token {name} in the model's output matrix holds NaN"):
        add_tokens(model, tokenizer, TokensToAdd(["<a_0>"]), init, torch.Generator())


@pytest.mark.parametrize("reserve", [0, 3, 50])
@pytest.mark.parametrize("kind", ["qwen3", "phi"])
def test_unused_rows_are_taken_first_and_others_keep_their_bits(kind: str, reserve: int) -> None:
    tokenizer = make_tokenizer()
    size = len(tokenizer)
    model = lm(kind, size + reserve, tied=kind == "qwen3")
    before = [matrix.detach().clone() for matrix in matrices(model)]
    bias_before = None if head_bias(model) is None else head_bias(model).detach().clone()
    extension = add_tokens(model, tokenizer, TokensToAdd(NAMES), "mean", torch.Generator())
    height = size + max(reserve, len(NAMES))
    assert (extension.rows_before, extension.rows) == (size + reserve, height)
    assert extension.from_reserve == min(reserve, len(NAMES))
    assert extension.tokens.ids.tolist() == list(range(size, size + 7)) == tokenizer.convert_tokens_to_ids(NAMES)
    assert len(matrices(model)) == len(before) == (1 if kind == "qwen3" else 2)
    for matrix, old in zip(matrices(model), before, strict=True):
        assert len(matrix) == height
        assert torch.equal(matrix[:size], old[:size]) and torch.equal(matrix[size + 7 :], old[size + 7 :])
        torch.testing.assert_close(matrix[size : size + 7], old[:size].mean(0).expand(7, -1))
    bias = head_bias(model)
    assert (bias is None) == (bias_before is None) == (kind == "qwen3")
    if bias is not None and bias_before is not None:
        assert torch.equal(bias[:size], bias_before[:size])
        torch.testing.assert_close(bias[size : size + 7], bias_before[:size].mean().expand(7))


def test_tokens_that_had_no_row_get_the_mean() -> None:
    """A tokenizer may have more tokens than the model rows: their rows are appended, too."""
    tokenizer = make_tokenizer()
    size = len(tokenizer)
    tokenizer.add_tokens(["<without row>"])
    model = lm("llama", size, tied=True)
    old = matrices(model)[0].detach().clone()
    extension = add_tokens(model, tokenizer, TokensToAdd(["<x>"]), "random", torch.Generator().manual_seed(0))
    assert extension.rows == size + 2
    torch.testing.assert_close(matrices(model)[0][size], old.mean(0))
    assert not torch.allclose(matrices(model)[0][size + 1], old.mean(0))
