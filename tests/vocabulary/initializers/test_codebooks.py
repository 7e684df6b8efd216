"""Rows from codebooks, against scipy's orthogonal Procrustes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes

from gti_cli.errors import InputError
from gti_cli.geometry.similarity import pearson
from gti_cli.vocabulary.initializers.codebooks import codebook
from gti_cli.vocabulary.initializers.texts import text
from gti_cli.vocabulary.tokens_to_add import TokensToAdd
from tests.support.models import make_tokenizer
from tests.support.vocabulary import catalogue_tokens, pretrained_rows

TOKENIZER = make_tokenizer()


def test_codebook_keeps_angles_and_turns_towards_the_text() -> None:
    matrix, tokens = pretrained_rows(TOKENIZER), catalogue_tokens()
    centre = matrix.double().mean(0)
    found = codebook(matrix, tokens, TOKENIZER).double() - centre
    books = np.concatenate(tokens.codebooks).astype(np.float64)
    assert pearson(found.numpy(), books) == pytest.approx(1, abs=1e-5)
    target = text(matrix, tokens, TOKENIZER).double() - centre
    # scipy's solution in the space padded to the same width (a square problem has the same optimum).
    padded = np.pad(books, ((0, 0), (0, 3)))
    turned = padded @ orthogonal_procrustes(padded, target.numpy())[0]
    turned *= np.linalg.norm(found, axis=1, keepdims=True) / np.linalg.norm(turned, axis=1, keepdims=True)
    np.testing.assert_allclose(found, turned, atol=1e-5)


def test_codebook_wider_than_the_embedding() -> None:
    found = codebook(pretrained_rows(TOKENIZER, 4), catalogue_tokens(20), TOKENIZER)
    assert found.shape == (7, 4)
    assert torch.isfinite(found).all()


def test_missing_codebooks_are_refused() -> None:
    with pytest.raises(InputError, match="needs the codebooks"):
        codebook(pretrained_rows(TOKENIZER), TokensToAdd(["<x>"], ["red"]), TOKENIZER)


def test_codes_without_a_codebook_vector_are_refused() -> None:
    """A file may lack the codebook of the last level, which only tells items with equal codes apart."""
    tokens = catalogue_tokens()
    message = r"have 4 vectors for 7 codes \(none for '<b_0>', '<b_1>', '<b_2>'\)\. Run 'gti build-ids' again"
    with pytest.raises(InputError, match=message):
        codebook(pretrained_rows(TOKENIZER), replace(tokens, codebooks=tokens.codebooks[:1]), TOKENIZER)
