from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import entropy

from gti_cli.semantic_ids.quality.figures import collision_figures, level_report, level_use, reconstruction
from gti_cli.semantic_ids.quantizers import residual_codes


def test_level_use_against_scipy() -> None:
    codes = np.random.default_rng(0).integers(10, size=200)
    figures = level_use(codes, 16)
    share = np.bincount(codes) / 200
    assert figures["entropy"] == pytest.approx(entropy(share, base=2))
    assert figures["perplexity"] == pytest.approx(np.exp(entropy(share)))
    assert (figures["used"], figures["use"]) == (10, 10 / 16)
    assert level_use(np.zeros(5, int), 4)["entropy"] == 0


def test_collisions_against_a_counter() -> None:
    codes = np.random.default_rng(1).integers(5, size=(60, 2)).astype(np.int32)
    groups = Counter(map(tuple, codes.tolist()))
    figures = collision_figures(codes)
    assert figures["distinct"] == len(groups)
    assert figures["rate"] == pytest.approx((60 - len(groups)) / 60)
    assert figures["items"] == sum(count for count in groups.values() if count > 1)
    assert figures["largest"] == max(groups.values())


def test_reconstruction_against_the_definition() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((100, 6)).astype(np.float32)
    books = [rng.standard_normal((8, 6)).astype(np.float32) for _ in range(3)]
    codes = residual_codes.encode(vectors, books)
    entries = reconstruction(vectors, codes, 3, lambda part, count: residual_codes.decode(part, books, count))
    for count in (1, 2, 3):
        rest = vectors - sum(books[level][codes[:, level]] for level in range(count))
        error = (rest**2).sum(axis=1).mean()
        assert entries[count - 1]["error"] == pytest.approx(error, rel=1e-5)
        total = ((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).mean()
        assert entries[count - 1]["explained_variance"] == pytest.approx(1 - error / total, abs=1e-5)


def test_items_that_are_all_alike_explain_nothing() -> None:
    vectors = np.ones((4, 2), np.float32)
    entries = reconstruction(vectors, np.zeros((4, 1), np.int32), 1, lambda part, count: np.ones((len(part), 2)))
    assert entries == [{"error": 0.0, "explained_variance": 0.0}]


def test_a_suffix_level_has_use_but_no_reconstruction() -> None:
    codes = np.array([[0, 0], [1, 0], [1, 1]], dtype=np.int32)
    first, suffix = level_report(codes, [3, 2], [{"error": 0.5, "explained_variance": 0.25}])
    assert (first["level"], first["used"], first["error"], first["explained_variance"]) == (0, 2, 0.5, 0.25)
    assert (suffix["level"], suffix["codes"], suffix["used"]) == (1, 2, 2) and "error" not in suffix
