from __future__ import annotations

import builtins
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.semantic_ids.encoders import encode as encoders
from gti_cli.semantic_ids.encoders import encoding_store
from gti_cli.semantic_ids.encoders.text_model import CPU_BATCH, GPU_BATCH, TextModel, encode_texts, token_batches
from gti_cli.semantic_ids.options import EncoderOptions
from tests.support.semantic_ids import make_catalogue, make_encoder

TEXTS = ["a dress", "a blue dress", "coat", "a red coat of wool", "scarf", "a long text about one dress and more"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.mark.filterwarnings("ignore:Importing from:DeprecationWarning")
def test_sentence_transformers_model_one_text_at_a_time(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = make_encoder(tmp_path)
    titles = ["a dress", "a blue dress", "coat", "a very long title about a dress that goes on and on and on and on"]
    encoded = encoders.encode(make_catalogue(tmp_path, title=titles), str(folder), 0)
    model = SentenceTransformer(str(folder))
    for row, title in enumerate(titles):
        expected = model.encode([title])[0]
        np.testing.assert_allclose(encoded.vectors[row], expected / np.linalg.norm(expected), atol=1e-5)
    assert encoded.counts == {"texts_cut": 1, "texts_naming_tokens": 0} and encoded.measured == {
        "batch_tokens": CPU_BATCH
    }


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pooling_prompt_and_limit_against_the_bare_model(encoder: Path, pooling: str) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    options = EncoderOptions(pooling, "item: ", 10, batch_tokens=24)
    model = TextModel(str(encoder), options, None, None)
    vectors, counts = encode_texts(model, TEXTS, None)
    tokenizer, bare = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder).eval()
    for row, text in enumerate(TEXTS):
        ids = tokenizer("item: " + text)["input_ids"]
        assert model.measure([text])[0] == [len(ids)]
        with torch.no_grad():
            states = bare(input_ids=torch.tensor([ids[:10]])).last_hidden_state[0].numpy()
        expected = {"mean": states.mean(axis=0), "cls": states[0], "last": states[-1]}[pooling]
        np.testing.assert_allclose(vectors[row], expected / np.linalg.norm(expected), atol=1e-5)
    assert counts["texts_cut"] == sum(length > 10 for length in model.measure(TEXTS)[0]) > 0


def test_token_batches() -> None:
    lengths = [3, 9, 1, 4, 4, 30, 2]
    batches = list(token_batches(lengths, 10))
    assert sorted(row for rows in batches for row in rows) == list(range(7))
    assert batches[0] == [5]
    assert all(len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= 10 for rows in batches)
    assert list(token_batches([], 10)) == []


def test_batches_are_by_the_device_unless_given(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TextModel(str(encoder), EncoderOptions(), None, None)
    assert model.batch_tokens == CPU_BATCH
    monkeypatch.setattr(model, "_model", SimpleNamespace(device=SimpleNamespace(type="cuda")))
    assert model.batch_tokens == GPU_BATCH > CPU_BATCH
    monkeypatch.setattr(model, "options", EncoderOptions(batch_tokens=12))
    assert model.batch_tokens == 12


def test_an_interrupted_encoding_resumes(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding_store, "_SAVE_EVERY", 1)
    model = TextModel(str(encoder), EncoderOptions(batch_tokens=12), None, None)
    whole = np.array(encode_texts(model, TEXTS, None)[0])
    real, calls = model.encode, []

    def count(texts: list[str]) -> np.ndarray:
        calls.append(texts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(texts)

    monkeypatch.setattr(model, "encode", count)
    with pytest.raises(KeyboardInterrupt):
        encode_texts(model, TEXTS, tmp_path)
    calls.extend([[]] * 10)
    done = len(calls)
    np.testing.assert_array_equal(encode_texts(model, TEXTS, tmp_path)[0], whole)
    batches = len(list(token_batches(model.measure(TEXTS)[0], 12)))
    assert len(calls) - done == batches - 2  # the two that were finished are not encoded again
    encode_texts(model, [*TEXTS[1:], "another"], tmp_path)  # other texts: nothing of it is taken
    assert len(calls) - done > batches - 2


def test_a_model_that_returns_nan(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TextModel(str(encoder), EncoderOptions(), None, None)
    monkeypatch.setattr(model, "encode", lambda texts: np.full((len(texts), 2), np.nan, np.float32))
    with pytest.raises(InputError, match="NaN or infinity"):
        encode_texts(model, ["a"], None)


def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cannot be loaded as a text encoder"):
        encoders.encode(make_catalogue(tmp_path, title=["a"]), str(tmp_path / "empty"), 0)


def test_without_sentence_transformers_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def fake(name: str, *rest: Any, **more: Any) -> Any:
        if name == "sentence_transformers":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(InputError, match="needs the package sentence-transformers") as caught:
        encoders.encode(make_catalogue(tmp_path, title=["a"]), "some/model", 0)
    assert "Pip install sentence-transformers" in str(caught.value)


@given(lengths=st.lists(st.integers(1, 40), max_size=60), budget=st.integers(1, 100))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(token_batches(lengths, budget))
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    ordered = [lengths[row] for rows in batches for row in rows]
    assert ordered == sorted(lengths, reverse=True)
    sizes = [(lengths[rows[0]], len(rows)) for rows in batches]  # the longest text, and the number of texts
    assert all(count == 1 or longest * count <= budget for longest, count in sizes)
    assert all(longest * (count + 1) > budget for longest, count in sizes[:-1])  # no batch is closed too early


def test_a_model_runs_in_the_number_format_that_was_chosen(encoder: Path) -> None:
    import torch

    full = TextModel(str(encoder), EncoderOptions(), None, torch.float32)
    half = TextModel(str(encoder), EncoderOptions(), None, torch.bfloat16)
    assert {weight.dtype for weight in half._model.parameters()} == {torch.bfloat16}
    vectors = half.encode(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, full.encode(TEXTS), atol=0.02)


def test_batches_have_less_padding_than_those_of_sentence_transformers(encoder: Path) -> None:
    """That library sorts by the number of characters and puts as many texts into each batch."""
    rng = np.random.default_rng(0)
    words = ["a", "dress", "of", "wool", "x", "incomprehensibilities"]
    texts = [" ".join(rng.choice(words, 1 + int(rng.pareto(1.2)))) for _ in range(600)]
    lengths = TextModel(str(encoder), EncoderOptions(), None, None).measure(texts)[0]

    def padded(batches: list[list[int]]) -> int:
        return sum(len(rows) * max(lengths[row] for row in rows) for rows in batches)

    by_characters = np.argsort([-len(text) for text in texts], kind="stable").tolist()
    theirs = [by_characters[start : start + 32] for start in range(0, len(texts), 32)]
    ours = list(token_batches(lengths, padded(theirs) // len(theirs)))  # as many tokens in a batch
    assert padded(ours) - sum(lengths) < 0.5 * (padded(theirs) - sum(lengths))
    assert len(ours) <= len(theirs)
