from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gti_cli.errors import InputError
from gti_cli.semantic_ids.encoders import encode as encoders
from gti_cli.semantic_ids.options import EncoderOptions
from tests.support.semantic_ids import TITLES, chinese_titles, make_catalogue, make_encoder, make_items, new_items

Catalogues = Callable[..., Any]


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogues:
    return partial(make_catalogue, tmp_path)


def test_lsa_against_a_dense_svd(catalogue: Catalogues) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    made = catalogue(title=TITLES)
    encoded = encoders.encode_lsa(made, seed=0, width=3)
    weights = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(TITLES).toarray()
    u, s, _ = np.linalg.svd(weights, full_matrices=False)
    expected = u[:, :3] * s[:3]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(encoded.vectors @ encoded.vectors.T, expected @ expected.T, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(encoded.vectors, axis=1), 1, atol=1e-5)


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
    encoded = encoders.encode_lsa(made, seed=0, width=3)
    assert not encoded.vectors[-1].any()
    assert encoded.counts["texts_that_share_nothing"] == 1
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
    with pytest.raises(InputError, match="2 items contain no word"):
        encoders.encode(catalogue(title=titles), "lsa", 0)


def test_with_a_model_from_end_to_end(tmp_path: Path) -> None:
    from gti_cli.semantic_ids.build import build_ids

    options = EncoderOptions(pooling="last")
    done = build_ids(
        make_items(tmp_path),
        tmp_path / "ws",
        encoder=str(make_encoder(tmp_path)),
        levels=3,
        codes=8,
        text_model=options,
        device="cpu",
    )
    assert done.options["text_model"]["pooling"] == "last" and done.counts["width"] == 16
    again = build_ids(new_items(tmp_path), tmp_path / "ws", reuse=True, device="cpu")
    assert again.counts["items"] == 92


def test_the_column_goes_to_the_store_or_into_memory(catalogue: Catalogues, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((11, 3)).astype(np.float32)
    made = catalogue(embedding=rows.tolist())
    stored = encoders.encode(made, "column", 0, store=tmp_path / "stored").vectors
    assert (tmp_path / "stored").is_file()
    np.testing.assert_array_equal(stored[:], rows)
    np.testing.assert_array_equal(encoders.encode(made, "column", 0).vectors, rows)


def test_a_fitted_lsa_survives_its_file_and_encodes_the_same_texts_alike(catalogue: Catalogues) -> None:
    made = catalogue(title=TITLES)
    first = encoders.encode_lsa(made, seed=0, width=3)
    assert first.state is not None
    state = encoders.LsaState.from_arrays(first.state.arrays())
    assert state.terms == first.state.terms
    np.testing.assert_allclose(encoders.encode_with_fitted_lsa(made, state).vectors, first.vectors, atol=1e-5)


def test_titles_without_spaces_are_near_those_that_share_parts(catalogue: Catalogues) -> None:
    titles, parts = chinese_titles(120)
    encoded = encoders.encode_lsa(catalogue(title=titles), seed=0)
    shared = (parts[:, None] == parts[None]).sum(2)
    cosines = np.asarray(encoded.vectors) @ np.asarray(encoded.vectors).T
    apart = ~np.eye(len(titles), dtype=bool)
    assert np.corrcoef(shared[apart], cosines[apart])[0, 1] > 0.8


def test_a_fitted_lsa_of_such_titles_encodes_alike_and_an_earlier_one_as_before(catalogue: Catalogues) -> None:
    made = catalogue(title=chinese_titles(20)[0])
    first = encoders.encode_lsa(made, seed=0, width=5)
    assert first.state is not None and first.state.grams == (1, 2)
    arrays = first.state.arrays()
    state = encoders.LsaState.from_arrays(arrays)
    np.testing.assert_allclose(encoders.encode_with_fitted_lsa(made, state).vectors, first.vectors, atol=1e-5)
    # A state from before knows whole titles as words.
    del arrays["lsa.grams"]
    earlier = encoders.LsaState.from_arrays(arrays)
    assert earlier.grams is None
    assert encoders.encode_with_fitted_lsa(made, earlier).counts["texts_that_share_nothing"] == 20


def test_the_state_of_other_titles_has_the_same_arrays_as_before(catalogue: Catalogues) -> None:
    state = encoders.encode_lsa(catalogue(title=TITLES), seed=0).state
    assert state is not None
    assert list(state.arrays()) == ["lsa.terms", "lsa.idf", "lsa.components"]
