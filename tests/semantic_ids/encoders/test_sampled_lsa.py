from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gti_cli.errors import InputError
from gti_cli.semantic_ids import artifact
from gti_cli.semantic_ids.build import build_ids
from gti_cli.semantic_ids.catalogue import read_catalogue
from gti_cli.semantic_ids.encoders import encode as encoders
from gti_cli.semantic_ids.encoders import sampled_lsa
from gti_cli.tensors.vector_file import VectorFile
from tests.support.semantic_ids import TITLES, chinese_titles, make_catalogue, make_items, new_items


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catalogues of more than ten items count as large, and blocks hold seven texts."""
    monkeypatch.setattr(sampled_lsa, "WHOLE", 10)
    monkeypatch.setattr(sampled_lsa, "_BLOCK", 7)


@pytest.mark.parametrize("titles", [TITLES * 3, chinese_titles(40)[0]], ids=["spaces", "no spaces"])
def test_a_sample_of_all_texts_gives_the_vectors_of_the_whole(
    tmp_path: Path, small_is_large: None, titles: list[str]
) -> None:
    made = make_catalogue(tmp_path, title=titles)
    whole = encoders.encode_lsa(made, seed=0)
    streamed = encoders.encode(made, "lsa", 0, store=tmp_path / "stored")
    assert isinstance(streamed.vectors, VectorFile) and streamed.state is not None and whole.state is not None
    assert streamed.state.terms == whole.state.terms and streamed.state.grams == whole.state.grams
    np.testing.assert_allclose(streamed.state.idf, whole.state.idf, rtol=1e-5)
    np.testing.assert_allclose(
        streamed.vectors[:] @ streamed.vectors[:].T, np.asarray(whole.vectors) @ np.asarray(whole.vectors).T, atol=1e-3
    )
    assert encoders.encode(made, "lsa", 0).vectors[:].tobytes() == streamed.vectors[:].tobytes()


def test_a_quarter_of_the_texts_gives_similar_cosines(
    tmp_path: Path, small_is_large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = read_catalogue(make_items(tmp_path, 160), ["title"])
    whole = np.asarray(encoders.encode_lsa(made, seed=0).vectors)
    monkeypatch.setattr(sampled_lsa, "SAMPLE_TEXTS", 40)
    sampled = np.asarray(encoders.encode(made, "lsa", 0).vectors)
    apart = ~np.eye(160, dtype=bool)
    assert np.corrcoef((whole @ whole.T)[apart], (sampled @ sampled.T)[apart])[0, 1] > 0.7


def test_the_sample_ends_with_its_budget_and_keeps_the_most_frequent_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled_lsa, "_BLOCK", 2)
    monkeypatch.setattr(sampled_lsa, "SAMPLE_TERMS", 10)
    assert sampled_lsa.fit(TITLES, None, 0).texts in (2, 4)  # texts of three or five terms, two at a time
    monkeypatch.setattr(sampled_lsa, "SAMPLE_TERMS", 1 << 20)
    monkeypatch.setattr(sampled_lsa, "MOST_TERMS", 5)
    fitted = sampled_lsa.fit(TITLES, None, 0)
    counts = Counter(word for title in TITLES for word in title.split())
    pairs = Counter(pair for title in TITLES for pair in zip(title.split(), title.split()[1:], strict=False))
    everything = counts + Counter({" ".join(pair): count for pair, count in pairs.items()})
    assert fitted.terms == len(everything)
    left_out = [count for term, count in everything.items() if term not in fitted.state.terms]
    assert len(fitted.state.terms) == 5 and min(everything[term] for term in fitted.state.terms) >= max(left_out)


def test_new_items_get_the_vectors_that_they_would_have_had(
    tmp_path: Path, small_is_large: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sampled_lsa, "SAMPLE_TEXTS", 42)
    space = tmp_path / "ws"
    items = make_items(tmp_path)
    manifest = build_ids(items, space, levels=2, codes=12)
    assert manifest.details["lsa_sample"]["texts"] == 42
    assert manifest.details["lsa_sample"]["terms_used"] == manifest.counts["terms"]
    assert "fitted on a sample of 42 texts" in " ".join(capsys.readouterr().err.split())
    stored = VectorFile(space / artifact.EMBEDDINGS)[:]
    state = encoders.LsaState.from_arrays(artifact.read_arrays(space / artifact.REUSE))
    made = read_catalogue(items)
    by_blocks = encoders.encode_with_fitted_lsa(made, state).vectors
    assert by_blocks[:].tobytes() == stored.tobytes()
    monkeypatch.setattr(sampled_lsa, "WHOLE", 100_000)
    np.testing.assert_allclose(encoders.encode_with_fitted_lsa(made, state).vectors, stored, atol=1e-5)
    again = build_ids(new_items(tmp_path), space, reuse=True)
    assert again.counts["items"] == 92 and again.details["lsa_sample"]["texts"] == 42


def test_a_text_without_a_word_is_refused_and_an_unknown_one_counted(
    tmp_path: Path, small_is_large: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"1 items contain no word .*'i18'"):
        encoders.encode(make_catalogue(tmp_path, title=[*TITLES * 3, "?!"]), "lsa", 0)
    monkeypatch.setattr(sampled_lsa, "MOST_TERMS", 5)
    encoded = encoders.encode(make_catalogue(tmp_path, title=[*TITLES * 3, "xylophone"]), "lsa", 0)
    assert not encoded.vectors[18].any() and encoded.counts["texts_that_share_nothing"] >= 1
    assert "no word that the LSA knows" in " ".join(capsys.readouterr().err.split())


def test_the_subspace_is_that_of_the_svd() -> None:
    from scipy import sparse

    weights = sparse.random(300, 200, density=0.1, format="csr", dtype=np.float32, random_state=0)
    scaled = sparse.csr_matrix(weights @ sparse.diags(np.float32(0.9) ** np.arange(200, dtype=np.float32)))
    components = sampled_lsa.subspace(scaled.astype(np.float32), 12, seed=0)
    expected = np.linalg.svd(scaled.toarray(), full_matrices=False)[2][:12]
    # The cosines of the angles between both subspaces; then vector by vector, whose signs are free.
    assert np.linalg.svd(components @ expected.T)[1].min() > 0.99
    np.testing.assert_allclose(np.abs(components[:4] @ expected[:4].T), np.eye(4), atol=0.02)
