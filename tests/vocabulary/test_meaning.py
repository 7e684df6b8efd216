from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given as examples
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.sparse import csr_matrix

from gti_cli import tables
from gti_cli.app import run
from gti_cli.errors import InputError
from gti_cli.geometry.similarity import pearson
from gti_cli.vocabulary.meaning import (
    FROM_MEANING,
    PLACED,
    Meanings,
    Placement,
    _solve_ridge,
    codebook,
    subword,
    text,
    text_lstsq,
    text_permuted,
)
from tests.support.models import make_tokenizer

TEXTS = ["red silk dress", "blue denim jacket", "red wool coat", "leather boots, red", "", "blue linen shirt"]
CODES = np.array([[0, 0], [1, 0], [0, 1], [2, 1], [2, 2], [1, 1]])
SIZES = [4, 3]  # code 3 of level 0 has no item; code 2 of level 1 has one item, without a text
TOKENIZER = make_tokenizer()


def meanings(width: int = 5) -> Meanings:
    rng = np.random.default_rng(0)
    books = [rng.normal(size=(size, width)).astype(np.float32) for size in SIZES]
    names = [f"<{level}_{code}>" for level, size in zip("ab", SIZES, strict=True) for code in range(size)]
    return Meanings(names, [], TEXTS, CODES + np.array([0, 4]), books)


def rows(width: int = 8, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(len(TOKENIZER), width, generator=generator) + 0.5).to(dtype)


def naive_text(matrix: torch.Tensor, given: Meanings) -> np.ndarray:
    """The definition, word by word."""
    table = matrix.double().numpy()
    centre = table.mean(0)
    pieces = [TOKENIZER(t, add_special_tokens=False)["input_ids"] for t in given.texts]
    documents = {w: sum(w in p for p in pieces) for p in pieces for w in p}
    rarity = {w: np.log((1 + len(pieces)) / (1 + n)) + 1e-6 for w, n in documents.items()}
    means = [sum(rarity[w] * (table[w] - centre) for w in p) / sum(rarity[w] for w in p) if p else None for p in pieces]
    usual = np.sqrt(((table - centre) ** 2).sum(1).mean())
    found = np.tile(centre, (len(given.names), 1))
    offset = 0
    for level, size in enumerate(SIZES):
        everything = np.mean([m for m in means if m is not None], axis=0)
        for code in range(size):
            mine = [m for m, c in zip(means, CODES[:, level], strict=True) if c == code and m is not None]
            if mine:
                apart = np.mean(mine, axis=0) - everything
                found[offset + code] += usual * apart / np.linalg.norm(apart)
        offset += size
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_text_is_its_definition(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gti_cli.vocabulary.meaning._COLUMNS", 5)
    matrix = rows(dtype=dtype)
    found = text(matrix, meanings(), TOKENIZER)
    np.testing.assert_allclose(found, naive_text(matrix, meanings()), atol=1e-5)


def test_distance_moves_rows_along_the_line_from_the_mean() -> None:
    matrix = rows()
    centre = matrix.double().mean(0)
    for name in PLACED:
        usual = FROM_MEANING[name](matrix, meanings(), TOKENIZER, Placement(1.0)).double() - centre
        near = FROM_MEANING[name](matrix, meanings(), TOKENIZER, Placement(0.7)).double() - centre
        torch.testing.assert_close(near, 0.7 * usual, atol=1e-6, rtol=1e-5)


def test_lstsq_is_the_ridge_solution() -> None:
    """numpy's least squares on the stacked system, item by item, against conjugate gradients on sums over items."""
    matrix, given = rows(), meanings()
    table, centre = matrix.double().numpy(), matrix.double().mean(0).numpy()
    pieces = [TOKENIZER(t, add_special_tokens=False)["input_ids"] for t in given.texts]
    documents = {w: sum(w in p for p in pieces) for p in pieces for w in p}
    rarity = {w: np.log((1 + len(pieces)) / (1 + n)) + 1e-6 for w, n in documents.items()}
    known = [number for number, p in enumerate(pieces) if p]
    texts = np.array([sum(rarity[w] * (table[w] - centre) for w in p) / sum(rarity[w] for w in p) for p in pieces if p])
    texts -= texts.mean(0)
    assert given.places is not None
    incidence = np.zeros((len(known), len(given.names)))
    for row, item in enumerate(known):
        incidence[row, given.places[item]] = 1
    stacked = np.vstack([incidence, np.eye(len(given.names))])
    solution = np.linalg.lstsq(stacked, np.vstack([texts, np.zeros((len(given.names), 8))]), rcond=None)[0]
    usual = np.sqrt(((table - centre) ** 2).sum(1).mean())
    used = incidence.any(0)
    expected = solution * usual / np.sqrt((solution[used] ** 2).sum(1).mean())
    found = text_lstsq(matrix, given, TOKENIZER).double().numpy() - centre
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # It serves its purpose: sums over codes lie nearer the texts than those of `text`, both at their best scale.
    by_text = text(matrix, given, TOKENIZER).double().numpy() - centre

    def left(codes: np.ndarray) -> float:
        sums = incidence @ codes
        return float(((texts - sums * (sums * texts).sum() / (sums**2).sum()) ** 2).sum())

    assert left(found) < left(by_text)


@examples(st.integers(1, 12), st.integers(1, 3), st.integers(1, 30), st.integers(0, 99))
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
    matrix, given = rows(), meanings()
    plain = text(matrix, given, TOKENIZER)
    dealt = text_permuted(matrix, given, TOKENIZER, Placement(seed=3))
    assert not torch.equal(dealt, plain)
    assert torch.equal(dealt, text_permuted(matrix, given, TOKENIZER, Placement(seed=3)))
    for level in (slice(0, 4), slice(4, 7)):
        assert sorted(map(tuple, dealt[level].tolist())) == sorted(map(tuple, plain[level].tolist()))


def test_text_of_tokens_with_descriptions() -> None:
    found = text(rows(), Meanings(["<x>", "<y>", "<z>"], ["red dress", "blue jacket", "red dress"]), TOKENIZER)
    assert torch.equal(found[0], found[2])
    assert not torch.allclose(found[0], found[1])


def test_codebook_keeps_angles_and_turns_towards_the_text() -> None:
    matrix, given = rows(), meanings()
    centre = matrix.double().mean(0)
    found = codebook(matrix, given, TOKENIZER).double() - centre
    books = np.concatenate(given.codebooks).astype(np.float64)
    assert pearson(found.numpy(), books) == pytest.approx(1, abs=1e-5)
    wanted = text(matrix, given, TOKENIZER).double() - centre
    # scipy's solution in the space padded to the same width (a square problem has the same optimum).
    padded = np.pad(books, ((0, 0), (0, 3)))
    turned = padded @ orthogonal_procrustes(padded, wanted.numpy())[0]
    turned *= np.linalg.norm(found, axis=1, keepdims=True) / np.linalg.norm(turned, axis=1, keepdims=True)
    np.testing.assert_allclose(found, turned, atol=1e-5)


def test_codebook_wider_than_the_embedding() -> None:
    found = codebook(rows(4), meanings(20), TOKENIZER)
    assert found.shape == (7, 4)
    assert torch.isfinite(found).all()


def test_subword_is_the_mean_of_the_pieces() -> None:
    matrix = rows()
    found = subword(matrix, Meanings(["<x>", "<y>"], ["red dress", "boots"]), TOKENIZER)
    for row, words in zip(found, ("red dress", "boots"), strict=True):
        torch.testing.assert_close(row, matrix[TOKENIZER(words)["input_ids"]].mean(0))


@pytest.mark.parametrize(
    ("function", "given", "message"),
    [
        (subword, Meanings(["<x>", "<y>"], ["red", ""]), "'<y>' have none"),
        (subword, Meanings(["<x>"]), "needs a description"),
        (text, Meanings(["<x>"]), "needs texts"),
        (codebook, Meanings(["<x>"], ["red"]), "needs the codebooks"),
    ],
)
def test_what_is_missing_is_said(function: object, given: Meanings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        function(rows(), given, TOKENIZER)  # type: ignore[operator]


def test_descriptions_become_rows_through_the_command(tmp_path: Path, make_checkpoint: object) -> None:
    from transformers import AutoModelForCausalLM

    base = make_checkpoint("llama", tied=False)  # type: ignore[operator]
    tables.write(tmp_path / "t.parquet", {"token": ["<x>", "coat"], "description": ["red dress", "grey wool coat"]})
    line = ["extend", "--model", str(base), "-w", str(tmp_path / "w"), "--tokens", str(tmp_path / "t.parquet")]
    assert run([*line, "--init", "subword", "--device", "cpu"]) == 0
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "w" / "extended")
    # `coat` is one of the new tokens and must not describe itself.
    pieces = TOKENIZER("grey wool coat", add_special_tokens=False)["input_ids"]
    for weight in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        torch.testing.assert_close(weight[-1], weight[pieces].mean(0))
    assert run([*line, "--init", "codebook", "--force"]) == 2
