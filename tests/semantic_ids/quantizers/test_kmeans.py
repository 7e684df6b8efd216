from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.semantic_ids.options import KMeansOptions
from gti_cli.semantic_ids.quantizers import kmeans, residual_codes


def test_same_seed_same_bytes_and_other_seed_other_codebooks() -> None:
    vectors = np.random.default_rng(1).standard_normal((500, 8)).astype(np.float32)
    first, again, other = (kmeans.train(vectors, [32, 32], seed) for seed in (5, 5, 6))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    assert first[0].tobytes() != other[0].tobytes()


def test_codebooks_do_not_depend_on_the_number_of_threads() -> None:
    import faiss

    vectors = np.random.default_rng(2).standard_normal((4000, 16)).astype(np.float32)
    before = faiss.omp_get_max_threads()
    trained = []
    try:
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            trained.append(kmeans.train(vectors, [32, 32], seed=0))
    finally:
        faiss.omp_set_num_threads(before)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*trained, strict=True))


def test_error_at_most_that_of_faiss_residual_quantizer() -> None:
    import faiss

    rng = np.random.default_rng(3)
    centres = rng.standard_normal((40, 24))
    vectors = (centres[rng.integers(40, size=2000)] + 0.3 * rng.standard_normal((2000, 24))).astype(np.float32)
    codebooks = kmeans.train(vectors, [16, 16, 16], seed=0, options=KMeansOptions(restarts=2))
    ours = (
        ((vectors - residual_codes.decode(residual_codes.encode(vectors, codebooks), codebooks)) ** 2)
        .sum(axis=1)
        .mean()
    )
    peer = faiss.ResidualQuantizer(24, 3, 4)
    peer.max_beam_size = 1
    peer.train(vectors)
    theirs = ((vectors - peer.decode(peer.compute_codes(vectors))) ** 2).sum(axis=1).mean()
    assert ours <= theirs * 1.02


def test_a_sample_has_distinct_rows_in_order() -> None:
    vectors = np.arange(1000, dtype=np.float32).reshape(500, 2)
    sample = kmeans.draw_sample(vectors, 100, seed=0)
    assert len(np.unique(sample, axis=0)) == 100
    assert (np.diff(sample[:, 0]) > 0).all()
    assert len(kmeans.draw_sample(vectors, 500, seed=0)) == 500


def test_each_level_is_trained_on_the_residuals_of_the_levels_before() -> None:
    vectors = np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32)
    options = KMeansOptions(restarts=2)
    first, second = kmeans.train(vectors, [8, 6], 3, options)
    nearest = ((vectors[:, None] - first[None]) ** 2).sum(axis=2).argmin(axis=1)
    expected = kmeans._train_level(vectors - first[nearest], 6, 3 * 1009 + 1, options)
    np.testing.assert_array_equal(second, expected)


def test_the_run_with_the_lowest_error_is_used() -> None:
    vectors = np.random.default_rng(1).standard_normal((200, 4)).astype(np.float32)
    runs = [kmeans._train_level(vectors, 8, seed, KMeansOptions(iterations=3)) for seed in (4, 5, 6)]
    errors = [((vectors[:, None] - codebook[None]) ** 2).sum(axis=2).min(axis=1).sum() for codebook in runs]
    best = kmeans._train_level(vectors, 8, 4, KMeansOptions(iterations=3, restarts=3))
    np.testing.assert_array_equal(best, runs[int(np.argmin(errors))])


@given(d=st.integers(1, 3000))
@settings(max_examples=40)
def test_the_warm_start_grows_from_few_components_to_fewer_than_all(d: int) -> None:
    widths = kmeans._widths(d)
    assert widths == sorted(set(widths)) and all(1 <= width < d for width in widths)
    assert max(widths, default=0) <= kmeans._MOST_AXES


def test_principal_axes_are_those_of_an_svd() -> None:
    rows = np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32) * np.float32([9, 7, 5, 3, 2, 1]) + 4
    mean, axes = kmeans._principal_axes(rows)
    np.testing.assert_allclose(mean, rows.mean(axis=0), atol=1e-5)
    expected = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][: axes.shape[1]]
    np.testing.assert_allclose(np.abs((expected * axes.T).sum(axis=1)), 1, atol=1e-4)  # equal up to the sign


def test_a_warm_start_on_a_part_of_the_rows_costs_next_to_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    centres = rng.standard_normal((60, 16))
    vectors = (centres[rng.integers(60, size=3000)] + 0.3 * rng.standard_normal((3000, 16))).astype(np.float32)

    def error() -> float:
        books = kmeans.train(vectors, [16, 16], seed=0)
        return float(((vectors - residual_codes.decode(residual_codes.encode(vectors, books), books)) ** 2).mean())

    whole = error()
    assert kmeans._warm_rows(vectors, 16) is vectors
    monkeypatch.setattr(kmeans, "_WARM_WHOLE", 1000)
    monkeypatch.setattr(kmeans, "_WARM_ROWS", 512)
    monkeypatch.setattr(kmeans, "_WARM_ROWS_OF_A_CODE", 40)
    assert len(kmeans._warm_rows(vectors, 16)) == 600  # every fifth row: not more than 640
    assert error() < 1.03 * whole
