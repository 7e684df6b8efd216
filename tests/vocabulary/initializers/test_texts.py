"""Initializers from texts, against naive loops and numpy's least squares."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from gti_cli.errors import InputError
from gti_cli.vocabulary.initializers.placement import Placement
from gti_cli.vocabulary.initializers.texts import _solve_ridge, subword, text, text_lstsq, text_permuted
from gti_cli.vocabulary.tokens_to_add import TokensToAdd
from tests.support.models import make_tokenizer
from tests.support.vocabulary import CODES, SIZES, catalogue_tokens, pretrained_rows

TOKENIZER = make_tokenizer()


def naive_text(matrix: torch.Tensor, tokens: TokensToAdd) -> np.ndarray:
    """The definition, word by word."""
    table = matrix.double().numpy()
    centre = table.mean(0)
    pieces = [TOKENIZER(t, add_special_tokens=False)["input_ids"] for t in tokens.item_texts]
    documents = {w: sum(w in p for p in pieces) for p in pieces for w in p}
    rarity = {w: np.log((1 + len(pieces)) / (1 + n)) + 1e-6 for w, n in documents.items()}
    means = [sum(rarity[w] * (table[w] - centre) for w in p) / sum(rarity[w] for w in p) if p else None for p in pieces]
    usual = np.sqrt(((table - centre) ** 2).sum(1).mean())
    rows = np.tile(centre, (len(tokens.names), 1))
    offset = 0
    for level, size in enumerate(SIZES):
        all_items = np.mean([m for m in means if m is not None], axis=0)
        for code in range(size):
            of_code = [m for m, c in zip(means, CODES[:, level], strict=True) if c == code and m is not None]
            if of_code:
                contrast = np.mean(of_code, axis=0) - all_items
                rows[offset + code] += usual * contrast / np.linalg.norm(contrast)
        offset += size
    return rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_text_is_its_definition(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gti_cli.vocabulary.initializers.text_vectors._ROWS_AT_A_TIME", 5)
    matrix = pretrained_rows(TOKENIZER, dtype=dtype)
    found = text(matrix, catalogue_tokens(), TOKENIZER)
    np.testing.assert_allclose(found, naive_text(matrix, catalogue_tokens()), atol=1e-5)


def test_lstsq_is_the_ridge_solution() -> None:
    """numpy's least squares on the stacked system, item by item, against conjugate gradients on sums over items."""
    matrix, tokens = pretrained_rows(TOKENIZER), catalogue_tokens()
    table, centre = matrix.double().numpy(), matrix.double().mean(0).numpy()
    pieces = [TOKENIZER(t, add_special_tokens=False)["input_ids"] for t in tokens.item_texts]
    documents = {w: sum(w in p for p in pieces) for p in pieces for w in p}
    rarity = {w: np.log((1 + len(pieces)) / (1 + n)) + 1e-6 for w, n in documents.items()}
    known = [number for number, p in enumerate(pieces) if p]
    texts = np.array([sum(rarity[w] * (table[w] - centre) for w in p) / sum(rarity[w] for w in p) for p in pieces if p])
    texts -= texts.mean(0)
    assert tokens.item_tokens is not None
    incidence = np.zeros((len(known), len(tokens.names)))
    for row, item in enumerate(known):
        incidence[row, tokens.item_tokens[item]] = 1
    stacked = np.vstack([incidence, np.eye(len(tokens.names))])
    solution = np.linalg.lstsq(stacked, np.vstack([texts, np.zeros((len(tokens.names), 8))]), rcond=None)[0]
    usual = np.sqrt(((table - centre) ** 2).sum(1).mean())
    used = incidence.any(0)
    expected = solution * usual / np.sqrt((solution[used] ** 2).sum(1).mean())
    found = text_lstsq(matrix, tokens, TOKENIZER).double().numpy() - centre
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # It serves its purpose: sums over codes lie nearer the texts than those of `text`, both at their best scale.
    by_text = text(matrix, tokens, TOKENIZER).double().numpy() - centre

    def left(codes: np.ndarray) -> float:
        sums = incidence @ codes
        return float(((texts - sums * (sums * texts).sum() / (sums**2).sum()) ** 2).sum())

    assert left(found) < left(by_text)


@given(st.integers(1, 12), st.integers(1, 3), st.integers(1, 30), st.integers(0, 99))
def test_ridge_by_conjugate_gradients(codes: int, levels: int, items: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    incidence = np.zeros((codes * levels, items))
    for level in range(levels):
        incidence[rng.integers(0, codes, items) + level * codes, np.arange(items)] = 1
    gram, target = incidence @ incidence.T, rng.normal(size=(codes * levels, 4))
    target[:, 0] = 0
    found = _solve_ridge(csr_matrix(gram), target)
    np.testing.assert_allclose(found, np.linalg.solve(gram + np.eye(len(gram)), target), atol=1e-7)


def test_permuted_rows_stay_in_their_level() -> None:
    matrix, tokens = pretrained_rows(TOKENIZER), catalogue_tokens()
    plain = text(matrix, tokens, TOKENIZER)
    dealt = text_permuted(matrix, tokens, TOKENIZER, Placement(seed=3))
    assert not torch.equal(dealt, plain)
    assert torch.equal(dealt, text_permuted(matrix, tokens, TOKENIZER, Placement(seed=3)))
    for level in (slice(0, 4), slice(4, 7)):
        assert sorted(map(tuple, dealt[level].tolist())) == sorted(map(tuple, plain[level].tolist()))


def test_text_of_tokens_with_descriptions() -> None:
    tokens = TokensToAdd(["<x>", "<y>", "<z>"], ["red dress", "blue jacket", "red dress"])
    new_rows = text(pretrained_rows(TOKENIZER), tokens, TOKENIZER)
    assert torch.equal(new_rows[0], new_rows[2])
    assert not torch.allclose(new_rows[0], new_rows[1])


def test_subword_is_the_mean_of_the_pieces() -> None:
    matrix = pretrained_rows(TOKENIZER)
    found = subword(matrix, TokensToAdd(["<x>", "<y>"], ["red dress", "boots"]), TOKENIZER)
    for row, words in zip(found, ("red dress", "boots"), strict=True):
        torch.testing.assert_close(row, matrix[TOKENIZER(words)["input_ids"]].mean(0))


@pytest.mark.parametrize(
    ("initializer", "tokens", "message"),
    [
        (subword, TokensToAdd(["<x>", "<y>"], ["red", ""]), "'<y>' have none"),
        (subword, TokensToAdd(["<x>"]), "needs a description"),
        (text, TokensToAdd(["<x>"]), "needs texts"),
        (text_lstsq, TokensToAdd(["<x>"], ["", ""]), "needs texts"),
    ],
)
def test_missing_texts_are_refused(initializer: object, tokens: TokensToAdd, message: str) -> None:
    with pytest.raises(InputError, match=message):
        initializer(pretrained_rows(TOKENIZER), tokens, TOKENIZER)  # type: ignore[operator]
