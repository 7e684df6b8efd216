"""Sparse sums over texts, against loops over items and words."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gti_cli.errors import InputError
from gti_cli.vocabulary.initializers.text_vectors import levels_of, text_vectors
from gti_cli.vocabulary.tokens_to_add import TokensToAdd
from tests.support.models import make_tokenizer
from tests.support.vocabulary import CODES, SIZES, TEXTS, catalogue_tokens, pretrained_rows

TOKENIZER = make_tokenizer()


def test_each_token_counts_its_items_with_text() -> None:
    tokens = catalogue_tokens()
    vectors = text_vectors(pretrained_rows(TOKENIZER), tokens, TOKENIZER)
    incidence = np.zeros((len(tokens.names), len(TEXTS)))
    for item, (first, second) in enumerate(CODES.tolist()):
        if TEXTS[item]:
            incidence[first, item] = incidence[SIZES[0] + second, item] = 1
    np.testing.assert_array_equal(vectors.incidence.toarray(), incidence)
    np.testing.assert_array_equal(vectors.counts, incidence.sum(1))


def test_contrasts_of_a_level_cancel_out_over_its_items() -> None:
    """Each is the difference from the mean over all items, so their mean over the items is zero in each level."""
    vectors = text_vectors(pretrained_rows(TOKENIZER), catalogue_tokens(), TOKENIZER)
    weighted = vectors.contrast * torch.from_numpy(vectors.counts)[:, None]
    assert vectors.contrast.abs().max() > 0.1
    for level in (slice(0, SIZES[0]), slice(SIZES[0], None)):
        torch.testing.assert_close(weighted[level].sum(0), torch.zeros(8, dtype=torch.float64), atol=1e-12, rtol=0)
    assert not vectors.contrast[vectors.counts == 0].any()


def test_the_result_does_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, tokens = pretrained_rows(TOKENIZER, dtype=torch.bfloat16), catalogue_tokens()
    whole = text_vectors(matrix, tokens, TOKENIZER)
    monkeypatch.setattr("gti_cli.vocabulary.initializers.text_vectors._ROWS_AT_A_TIME", 3)
    torch.testing.assert_close(text_vectors(matrix, tokens, TOKENIZER).contrast, whole.contrast)


def test_only_the_first_tokens_of_a_long_text_count(monkeypatch: pytest.MonkeyPatch) -> None:
    first = len(TOKENIZER("red silk", add_special_tokens=False)["input_ids"])
    monkeypatch.setattr("gti_cli.vocabulary.initializers.text_vectors._MAX_TEXT_TOKENS", first)
    matrix = pretrained_rows(TOKENIZER)
    long, short = (
        text_vectors(matrix, TokensToAdd(["<x>", "<y>"], [text, "blue"]), TOKENIZER).contrast
        for text in ("red silk dress with buttons", "red silk")
    )
    assert torch.equal(long, short)


def test_levels_of_codes_and_of_other_tokens() -> None:
    # Code 3 of level 0 has no item, so nothing says its level; it counts as level 0.
    assert levels_of(catalogue_tokens()).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert levels_of(TokensToAdd(["<x>", "<y>"], ["red", "blue"])).tolist() == [0, 0]


def test_tokens_without_any_text_are_refused() -> None:
    with pytest.raises(InputError, match="needs texts, and there are none"):
        text_vectors(pretrained_rows(TOKENIZER), TokensToAdd(["<x>"], [""]), TOKENIZER)
