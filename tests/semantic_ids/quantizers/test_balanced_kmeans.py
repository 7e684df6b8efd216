from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from gti_cli.semantic_ids.options import KMeansOptions
from gti_cli.semantic_ids.quality.figures import level_use
from gti_cli.semantic_ids.quantizers import balanced_kmeans, kmeans, residual_codes


def test_balanced_training_evens_out_the_codes() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((6, 8)) * 3
    weights = np.array([0.7, 0.1, 0.1, 0.05, 0.03, 0.02])
    vectors = centres[rng.choice(6, size=1500, p=weights)] + 0.3 * rng.standard_normal((1500, 8))
    vectors = vectors.astype(np.float32)
    plain, even = (
        residual_codes.encode(vectors, kmeans.train(vectors, [32, 32], 0, KMeansOptions(balanced=balanced)))
        for balanced in (False, True)
    )
    for level in range(2):
        assert level_use(even[:, level], 32)["perplexity"] > 25
    assert level_use(even[:, 1], 32)["perplexity"] > level_use(plain[:, 1], 32)["perplexity"]
    again = kmeans.train(vectors, [32, 32], 0, KMeansOptions(balanced=True))
    np.testing.assert_array_equal(residual_codes.encode(vectors, again), even)


def test_balanced_with_items_that_are_all_alike() -> None:
    codebooks = kmeans.train(np.ones((9, 3), np.float32), [4, 4], 0, KMeansOptions(balanced=True, iterations=3))
    assert all(np.isfinite(book).all() for book in codebooks)


def rows_and_codebook(n: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 3)).astype(np.float32), rng.standard_normal((7, 3)).astype(np.float32)


def test_soft_counts_are_column_sums_of_a_softmax() -> None:
    rows, codebook = rows_and_codebook()
    prices = np.linspace(-1, 1, 7).astype(np.float32)
    squared = ((rows[:, None] - codebook[None]) ** 2).sum(axis=2)
    expected = softmax(-(squared + prices) / 0.5, axis=1).sum(axis=0)
    mass = balanced_kmeans._soft_counts(balanced_kmeans._Distances(rows, codebook), prices, 0.5)
    np.testing.assert_allclose(mass, expected, rtol=1e-4)
    assert mass.sum() == pytest.approx(len(rows), rel=1e-5)


def test_distances_that_are_not_cached_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, codebook = rows_and_codebook()
    cached = balanced_kmeans._Distances(rows, codebook)
    monkeypatch.setattr(balanced_kmeans, "_MOST_CACHED", 10)
    computed = balanced_kmeans._Distances(rows, codebook)
    assert cached._cache is not None and computed._cache is None
    assert cached.sum_of_nearest() == computed.sum_of_nearest()
    for (part, one), (same_part, other) in zip(cached.blocks(), computed.blocks(), strict=True):
        assert part == same_part
        np.testing.assert_array_equal(one, other)


def test_sums_by_code_and_the_error_against_numpy() -> None:
    rows, codebook = rows_and_codebook(500)
    codes = np.random.default_rng(1).integers(6, size=500)  # code 6 has no row
    expected = np.zeros((7, 3))
    np.add.at(expected, codes, rows)
    np.testing.assert_allclose(balanced_kmeans._sum_by(codes, rows, 7), expected, atol=1e-9)
    squared = ((rows[:, None].astype(np.float64) - codebook[None]) ** 2).sum(axis=2)
    assert balanced_kmeans._error(rows, codebook) == pytest.approx(squared.min(axis=1).mean(), rel=1e-5)


def test_restarts_return_the_run_with_the_lowest_error() -> None:
    rows = np.random.default_rng(2).standard_normal((200, 3)).astype(np.float32)
    runs = [balanced_kmeans.train_level(rows, 8, seed, KMeansOptions(iterations=3)) for seed in (5, 6, 7)]
    best = balanced_kmeans.train_level(rows, 8, 5, KMeansOptions(iterations=3, restarts=3))
    np.testing.assert_array_equal(best, min(runs, key=lambda codebook: residual_error(rows, codebook)))


def residual_error(rows: np.ndarray, codebook: np.ndarray) -> float:
    return float(((rows[:, None].astype(np.float64) - codebook[None]) ** 2).sum(axis=2).min(axis=1).mean())
