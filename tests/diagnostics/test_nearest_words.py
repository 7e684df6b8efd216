import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gti_cli.diagnostics.nearest_words import NearestWords, TextWords, nearest_words, plain, word_agreement
from gti_cli.diagnostics.token_selection import read_vocabulary
from gti_cli.geometry.neighbours import Neighbours
from gti_cli.geometry.similarity import cosine_matrix
from gti_cli.tensors.safetensors_rows import read_header
from tests.support.models import make_tokenizer


def nearest_of(words):
    shape = (len(words), len(words[0]))
    return NearestWords(Neighbours(np.zeros(shape, dtype=np.int64), np.zeros(shape)), 5, words)


def test_nearest_words_against_brute_force(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    vocabulary = read_vocabulary(tmp_path)
    matrix = torch.randn(len(tokenizer), 8, generator=torch.Generator().manual_seed(0))
    save_file({"m": matrix}, tmp_path / "m.safetensors")
    place = read_header(tmp_path / "m.safetensors")["m"]
    new = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    ids = np.arange(7, len(tokenizer), 2)
    result = nearest_words(new, place, ids, vocabulary)
    order = np.argsort(-cosine_matrix(new, matrix.numpy()[ids]), axis=1)[:, :10]
    assert np.array_equal(result.neighbours.ids, ids[order])
    assert result.words[0][0] == vocabulary.word(int(ids[order[0, 0]]))
    assert result.searched == len(ids)
    mean = np.full(8, 2.0, dtype=np.float32)
    moved = nearest_words(new + mean, place, ids, vocabulary, mean=mean)
    order = np.argsort(-cosine_matrix(new, matrix.numpy()[ids] - mean), axis=1)[:, :10]
    assert np.array_equal(moved.neighbours.ids, ids[order])
    few = nearest_words(new, place, ids, None, work=20 * 5 * 8)
    assert few.searched == 20
    assert few.words[0][0].startswith("id ")


@pytest.mark.parametrize(
    ("word", "form"), [(" Dress", "dress"), ("dress,", "dress"), ("a", ""), ("12", ""), ("É2t", "é2t"), ("?!", "")]
)
def test_plain(word, form):
    assert plain(word) == form


def test_agreement_counted_by_hand():
    texts = [frozenset({"silk", "dress"}), frozenset({"boot", "dress"}), frozenset({"pen"})]
    carriers = [np.array([0, 1]), np.array([2]), np.array([], dtype=np.int64)]
    result = word_agreement(
        nearest_of([["Silk", "boot", "ink"], ["pen", "!!", "dress"], ["pen", "pen", "pen"]]), carriers, texts
    )
    expected = np.array([[1, 1, 0], [1, np.nan, 0], [np.nan, np.nan, np.nan]])
    assert np.array_equal(result.hits, expected, equal_nan=True)
    assert result.mean == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert result.chance == pytest.approx((0 + 1 / 2) / 2)
    assert result.tokens == 2


def test_nothing_to_agree_with():
    none = [np.array([], dtype=np.int64)]
    result = word_agreement(nearest_of([["silk"]]), none, [])
    assert np.isnan(result.mean)
    assert result.tokens == 0


def test_words_of_texts_are_the_tokenizers(tmp_path):
    make_tokenizer().save_pretrained(tmp_path)
    vocabulary = read_vocabulary(tmp_path)
    texts = TextWords(["The red evening dress", ""])
    first = texts.of(vocabulary)
    assert first[1] == frozenset()
    joined = {plain(vocabulary.word(i)) for i in vocabulary.tokenizer.encode("The red evening dress").ids}
    assert first[0] == frozenset(joined - {""})
    assert texts.of(vocabulary) is first
