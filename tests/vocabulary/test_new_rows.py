"""The choice of an initializer, new rows for every matrix, and the figures about them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.errors import InputError
from gti_cli.geometry.spectrum import effective_rank
from gti_cli.vocabulary.new_rows import (
    INITIALIZERS,
    Extension,
    default_initializer,
    describe_new_rows,
    initialize_rows,
)
from gti_cli.vocabulary.tokens_to_add import TokensToAdd
from tests.support.models import make_tokenizer
from tests.support.vocabulary import catalogue_tokens, pretrained_rows

TOKENIZER = make_tokenizer()
ITEM_TOKENS = np.zeros((2, 1), dtype=np.int64)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (TokensToAdd(["<a_0>"], item_texts=["red dress", ""], item_tokens=ITEM_TOKENS), "text-lstsq"),
        (TokensToAdd(["<a_0>"], item_texts=["", ""], item_tokens=ITEM_TOKENS), "mean"),
        (TokensToAdd(["x", "y", "z"], ["a cheese", "", "a boat"]), "text"),
        (TokensToAdd(["x", "y"], ["a cheese", "a cheese"]), "mean"),  # nothing sets them apart
        (TokensToAdd(["x"], ["a cheese"]), "mean"),
        (TokensToAdd(["x"]), "mean"),
    ],
)
def test_the_default_initializer_is_the_best_that_the_texts_allow(tokens: TokensToAdd, expected: str) -> None:
    assert default_initializer(tokens) == expected


@pytest.mark.parametrize("init", INITIALIZERS)
def test_every_initializer_gives_finite_rows_and_structural_tokens_get_the_mean(init: str) -> None:
    tokens = replace(catalogue_tokens(), descriptions=["red dress"] * 7, structural=["<begin>", "<end>"])
    matrices = [pretrained_rows(TOKENIZER), pretrained_rows(TOKENIZER) - 3]
    generator = torch.Generator().manual_seed(0)
    new_rows = initialize_rows(matrices, tokens, TOKENIZER, init, generator)
    assert len(new_rows) == 2
    for rows, matrix in zip(new_rows, matrices, strict=True):
        assert rows.shape == (9, 8) and rows.dtype == torch.float32 and torch.isfinite(rows).all()
        torch.testing.assert_close(rows[7:], matrix.mean(0).expand(2, -1))
    # Each matrix starts from its own rows: the output head's are 3 lower here.
    assert float((new_rows[0] - new_rows[1]).mean()) == pytest.approx(3, abs=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_pretrained_row_that_is_not_finite_is_named(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gti_cli.tensors.matrix_rows.BLOCK", 5 * 8)  # rows 7 and 12 lie in different blocks
    broken = pretrained_rows(TOKENIZER)
    broken[7, 3] = broken[12, 0] = value
    with pytest.raises(InputError) as caught:
        initialize_rows([broken.new_zeros(20, 8), broken], TokensToAdd(["<x>"]), TOKENIZER, "mean", torch.Generator())
    assert f"row 7: the row of token {TOKENIZER.convert_ids_to_tokens(7)!r} in the model's output matrix" in str(
        caught.value
    )
    assert "(2 rows do)" in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_new_rows_are_described_as_they_are_stored(dtype: torch.dtype) -> None:
    pretrained, rows = pretrained_rows(TOKENIZER), torch.randn(7, 8, generator=torch.Generator().manual_seed(1))
    described = describe_new_rows(rows, pretrained, dtype)
    stored = rows.to(dtype).float()
    assert torch.equal(described.rows, stored)
    assert described.norm == pytest.approx(np.linalg.norm(stored.numpy(), axis=1).mean())
    assert described.pretrained_norm == pytest.approx(np.linalg.norm(pretrained.numpy(), axis=1).mean())
    assert described.metrics()["new_rows_effective_rank"] == pytest.approx(effective_rank(stored.numpy()))


def test_figures_of_an_untied_output_head_have_a_prefix() -> None:
    none = np.full(3, -1, np.int32)
    tokens = NewTokens(["<x>", "<y>", "<z>"], np.array([5, 6, 9]), none, none)
    matrices = [describe_new_rows(torch.eye(3) * scale, torch.ones(4, 3), torch.float32) for scale in (1, 2)]
    extension = Extension(tokens, matrices, 7, 10, torch.float32, {})
    assert extension.from_reserve == 2
    metrics = extension.metrics()
    assert (metrics["new_rows_norm"], metrics["head_new_rows_norm"]) == (1, 2)
    assert len(metrics) == 6
