from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.semantic_ids.catalogue import kept_columns, read_catalogue
from gti_cli.semantic_ids.encoders import encode as encoders
from gti_cli.semantic_ids.encoders.text_model import TextModel, encode_texts, token_batches
from gti_cli.semantic_ids.options import EncoderOptions
from tests.support.semantic_ids import make_encoder

Catalogues = Callable[..., Any]


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogues:
    def make(text_columns: list[str] | None = None, **columns: Any) -> Any:
        size = len(next(iter(columns.values())))
        columns.setdefault("item_id", [f"i{n}" for n in range(size)])
        tables.write(tmp_path / "items.parquet", columns)
        return read_catalogue(tmp_path / "items.parquet", text_columns)

    return make


TITLES = ["red silk dress", "blue silk dress", "grey wool coat", "grey wool scarf", "linen shirt", "blue linen shirt"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


def test_texts_join_the_chosen_columns(catalogue: Catalogues) -> None:
    made = catalogue(title=["a", "b"], brand=[None, " B "], categories=[["x", "y"], None], price=[1.0, 2.0])
    assert made.text_columns == ["title", "brand", "categories"]
    assert made.texts == ["a\nx > y", "b\nB"]
    assert list(kept_columns(made.table)) == ["title", "brand", "categories"]
    assert catalogue(["brand", "brand"], title=["a", "b"], brand=["c", "d"]).texts == ["c", "d"]


def test_lsa_against_a_dense_svd(catalogue: Catalogues) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    made = catalogue(title=TITLES)
    found = encoders.encode_lsa(made, seed=0, width=3)
    weights = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(TITLES).toarray()
    u, s, _ = np.linalg.svd(weights, full_matrices=False)
    expected = u[:, :3] * s[:3]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found.vectors @ found.vectors.T, expected @ expected.T, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)


def test_lsa_width_is_capped_and_the_same_seed_gives_the_same_bytes(catalogue: Catalogues) -> None:
    made = catalogue(title=TITLES)
    first, again = encoders.encode_lsa(made, seed=4), encoders.encode_lsa(made, seed=4)
    assert first.vectors.shape == (6, 6)
    assert first.vectors.tobytes() == again.vectors.tobytes()
    one = encoders.encode_lsa(catalogue(title=["one dress"]), seed=0)
    np.testing.assert_allclose(np.abs(one.vectors), [[1.0]], atol=1e-6)


def test_a_text_that_shares_nothing_gets_no_direction_made_of_noise(
    catalogue: Catalogues, capsys: pytest.CaptureFixture[str]
) -> None:
    made = catalogue(title=[*TITLES * 3, "xylophone"])
    found = encoders.encode_lsa(made, seed=0, width=3)
    assert not found.vectors[-1].any()
    assert found.counts["texts_that_share_nothing"] == 1
    assert "share no word" in capsys.readouterr().err


def test_column_is_the_default_where_there_is_one(catalogue: Catalogues) -> None:
    vectors = [[1.0, 2.0], [3.0, 4.0]]
    made = catalogue(embedding=vectors)
    assert encoders.resolve_encoder(made, None) == "column"
    np.testing.assert_array_equal(encoders.encode(made, "column", 0).vectors, np.float32(vectors))
    assert encoders.resolve_encoder(catalogue(title=["a", "b"]), None) == "lsa"


@pytest.mark.parametrize(
    ("columns", "encoder", "words"),
    [
        ({"title": ["a", " ", None]}, None, "2 of 3 items have no text .*'i1', 'i2'"),
        ({"name": ["a"]}, None, "none of the text columns"),
        ({"title": ["a"]}, "column", "no 'embedding' column"),
    ],
)
def test_items_that_cannot_be_encoded(
    catalogue: Catalogues, columns: dict[str, list[Any]], encoder: str | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        encoders.resolve_encoder(catalogue(**columns), encoder)


@pytest.mark.parametrize("titles", [["a dress", "?!", "..."], ["?!", "..."]])
def test_texts_without_a_word(catalogue: Catalogues, titles: list[str]) -> None:
    with pytest.raises(InputError, match="2 items hold no word"):
        encoders.encode(catalogue(title=titles), "lsa", 0)


@pytest.mark.filterwarnings("ignore:Importing from:DeprecationWarning")
def test_sentence_transformers_model_one_text_at_a_time(catalogue: Catalogues, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = make_encoder(tmp_path)
    titles = ["a dress", "a blue dress", "coat", "a very long title about a dress that goes on and on and on and on"]
    found = encoders.encode(catalogue(title=titles), str(folder), 0)
    model = SentenceTransformer(str(folder))
    for row, title in enumerate(titles):
        expected = model.encode([title])[0]
        np.testing.assert_allclose(found.vectors[row], expected / np.linalg.norm(expected), atol=1e-5)
    assert found.counts == {"texts_cut": 1}


TEXTS = ["a dress", "a blue dress", "coat", "a red coat of wool", "scarf", "a long text about one dress and more"]


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pooling_prompt_and_limit_against_the_bare_model(encoder: Path, pooling: str) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    options = EncoderOptions(pooling, "item: ", 10, batch_tokens=24)
    model = TextModel(str(encoder), options, None, None)
    found, counts = encode_texts(model, TEXTS, None)
    tokenizer, bare = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder).eval()
    for row, text in enumerate(TEXTS):
        ids = tokenizer("item: " + text)["input_ids"]
        assert model.lengths([text]) == [len(ids)]
        with torch.no_grad():
            states = bare(input_ids=torch.tensor([ids[:10]])).last_hidden_state[0].numpy()
        expected = {"mean": states.mean(axis=0), "cls": states[0], "last": states[-1]}[pooling]
        np.testing.assert_allclose(found[row], expected / np.linalg.norm(expected), atol=1e-5)
    assert counts["texts_cut"] == sum(length > 10 for length in model.lengths(TEXTS)) > 0


def test_token_batches() -> None:
    lengths = [3, 9, 1, 4, 4, 30, 2]
    batches = list(token_batches(lengths, 10))
    assert sorted(row for rows in batches for row in rows) == list(range(7))
    assert batches[0] == [5]
    assert all(len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= 10 for rows in batches)
    assert list(token_batches([], 10)) == []


def test_an_interrupted_encoding_goes_on_from_what_is_there(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gti_cli.semantic_ids.encoders import encoding_store

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
    batches = len(list(token_batches(model.lengths(TEXTS), 12)))
    assert len(calls) - done == batches - 2  # the two that were finished are not encoded again
    encode_texts(model, [*TEXTS[1:], "another"], tmp_path)  # other texts: nothing of it is taken
    assert len(calls) - done > batches - 2


def test_a_model_that_returns_nan(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TextModel(str(encoder), EncoderOptions(), None, None)
    monkeypatch.setattr(model, "encode", lambda texts: np.full((len(texts), 2), np.nan, np.float32))
    with pytest.raises(InputError, match="NaN or infinity"):
        encode_texts(model, ["a"], None)


@pytest.mark.parametrize("bad", [{"pooling": "max"}, {"max_tokens": 1}, {"batch_tokens": 0}])
def test_encoder_options_that_make_no_sense(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="--"):
        EncoderOptions(**bad).check()


def test_with_a_model_from_end_to_end(encoder: Path, tmp_path: Path) -> None:
    from gti_cli.semantic_ids.build import build_ids
    from tests.support.semantic_ids import make_items, new_items

    options = EncoderOptions(pooling="last")
    done = build_ids(
        make_items(tmp_path),
        tmp_path / "ws",
        encoder=str(encoder),
        levels=3,
        codes=8,
        text_model=options,
        device="cpu",
    )
    assert done.options["text_model"]["pooling"] == "last" and done.counts["width"] == 16
    again = build_ids(new_items(tmp_path), tmp_path / "ws", reuse=True, device="cpu")
    assert again.counts["items"] == 92


def test_a_model_that_cannot_be_loaded(catalogue: Catalogues, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cannot be loaded as a text encoder"):
        encoders.encode(catalogue(title=["a"]), str(tmp_path / "empty"), 0)


def test_without_sentence_transformers_the_extra_is_named(
    catalogue: Catalogues, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def fake(name: str, *rest: Any, **more: Any) -> Any:
        if name == "sentence_transformers":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(InputError, match="needs the package sentence-transformers") as caught:
        encoders.encode(catalogue(title=["a"]), "some/model", 0)
    assert "gti-cli[encoders]" in str(caught.value)


def test_dictionary_columns_are_text(catalogue: Catalogues) -> None:
    made = catalogue(title=["a", "b"], brand=pa.array(["x", "x"]).dictionary_encode())
    assert made.texts == ["a\nx", "b\nx"]
    assert "brand" in kept_columns(made.table)


def test_embeddings_of_parquet_come_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gti_cli.semantic_ids import catalogue as module

    monkeypatch.setattr(module, "_BLOCK", 4)
    rows = np.random.default_rng(0).standard_normal((11, 3)).astype(np.float32)
    path = tmp_path / "items.parquet"
    tables.write(path, {"item_id": [f"i{n}" for n in range(11)], "embedding": rows.tolist()})
    made = read_catalogue(path)
    assert made.has_embeddings and "embedding" not in made.table.column_names
    assert made.embedding_width() == 3 and max(len(block) for block in made.embedding_blocks()) == 4
    found = encoders.encode(made, "column", 0, store=tmp_path / "stored").vectors
    np.testing.assert_array_equal(found[:], rows)
    np.testing.assert_array_equal(encoders.encode(made, "column", 0).vectors[:], rows)
    for bad, message in (([1.0, 2.0], "row 10: 2 numbers where the first"), ([1.0, float("nan"), 0.0], "row 10: NaN")):
        column = rows.tolist()
        column[9] = bad
        tables.write(path, {"item_id": [f"i{n}" for n in range(11)], "embedding": column})
        with pytest.raises(InputError, match=message):
            encoders.encode(read_catalogue(path), "column", 0)


def test_embeddings_of_json_lines(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(
        '{"item_id": "a", "embedding": [1, 2]}\n{"item_id": "b", "embedding": [3, 4]}\n'
    )
    made = read_catalogue(tmp_path / "items.jsonl")
    np.testing.assert_array_equal(encoders.encode(made, "column", 0).vectors[:], [[1, 2], [3, 4]])
