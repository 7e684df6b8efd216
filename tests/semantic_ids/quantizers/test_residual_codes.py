from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.semantic_ids.options import KMeansOptions
from gti_cli.semantic_ids.quantizers import kmeans, residual_codes


def naive_codes(vectors: np.ndarray, codebooks: list[np.ndarray]) -> np.ndarray:
    """Greedy residual assignment in float64, one item after another."""
    out = np.empty((len(vectors), len(codebooks)), dtype=int)
    for row, vector in enumerate(vectors.astype(np.float64)):
        rest = vector.copy()
        for level, codebook in enumerate(codebooks):
            distances = [float(((rest - code) ** 2).sum()) for code in codebook.astype(np.float64)]
            out[row, level] = int(np.argmin(distances))
            rest -= codebook[out[row, level]]
    return out


def test_codes_reproduce_from_codebooks() -> None:
    vectors = np.random.default_rng(0).standard_normal((300, 12)).astype(np.float32)
    codebooks = kmeans.train(vectors, [16, 8, 5], seed=3)
    assert [book.shape for book in codebooks] == [(16, 12), (8, 12), (5, 12)]
    codes = residual_codes.encode(vectors, codebooks)
    np.testing.assert_array_equal(codes, naive_codes(vectors, codebooks))
    total = sum(book[codes[:, level]] for level, book in enumerate(codebooks))
    np.testing.assert_allclose(residual_codes.decode(codes, codebooks), total, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(residual_codes.decode(codes, codebooks, 1), codebooks[0][codes[:, 0]])


def test_equal_distances_go_to_the_smaller_code() -> None:
    codebook = np.array([[1, 0], [-1, 0], [1, 0]], dtype=np.float32)
    rows = np.array([[0, 5], [2, 0], [-3, 1]], dtype=np.float32)
    assert residual_codes.assign(rows, codebook).tolist() == [0, 0, 1]


def test_mean_codebooks_are_the_mean_residuals() -> None:
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((60, 5)).astype(np.float32)
    codes = np.stack([rng.integers(4, size=60), rng.integers(3, size=60)], axis=1).astype(np.int32)
    books = residual_codes.mean_codebooks(vectors, codes, [5, 3])
    for code in range(4):
        np.testing.assert_allclose(books[0][code], vectors[codes[:, 0] == code].mean(axis=0), atol=1e-6)
    assert not books[0][4].any()
    rest = vectors - books[0][codes[:, 0]]
    for code in range(3):
        np.testing.assert_allclose(books[1][code], rest[codes[:, 1] == code].mean(axis=0), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 60),
    width=st.integers(1, 9),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    distinct=st.integers(1, 60),
    seed=st.integers(0, 5),
)
def test_any_shape_with_ties_and_duplicates(n: int, width: int, sizes: list[int], distinct: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pool = rng.integers(-2, 3, size=(distinct, width)).astype(np.float32)
    vectors = pool[rng.integers(distinct, size=n)]
    sizes = [min(size, n) for size in sizes]
    codebooks = kmeans.train(vectors, sizes, seed, KMeansOptions(iterations=4))
    codes = residual_codes.encode(vectors, codebooks)
    assert all(np.isfinite(book).all() for book in codebooks)
    assert codes.shape == (n, len(sizes)) and (codes >= 0).all() and (codes < np.array(sizes)).all()
    rest = vectors.astype(np.float64)
    for level, book in enumerate(codebooks):
        distances = ((rest[:, None] - book[None].astype(np.float64)) ** 2).sum(axis=2)
        chosen = np.take_along_axis(distances, codes[:, level : level + 1].astype(int), axis=1)[:, 0]
        assert (chosen <= distances.min(axis=1) + 1e-4).all()  # equal up to float32 rounding where codes tie
        rest = rest - book[codes[:, level]]


@pytest.mark.parametrize("n", [0, 1, residual_codes.BLOCK, residual_codes.BLOCK + 1])
def test_blocks_cover_everything_once(n: int) -> None:
    assert sum(part.stop - part.start for part in residual_codes.blocks(n)) == n


@pytest.mark.parametrize("beam", [2, 5, 1000])
def test_beam_is_never_worse_than_greedy_and_a_full_one_is_exact(beam: int) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((50, 4)).astype(np.float32)
    books = [rng.standard_normal((size, 4)).astype(np.float32) for size in (5, 4, 3)]

    def errors(codes: np.ndarray) -> np.ndarray:
        return ((vectors - residual_codes.decode(codes, books)) ** 2).sum(axis=1)

    greedy, beamed = errors(residual_codes.encode(vectors, books)), errors(residual_codes.encode(vectors, books, beam))
    assert (beamed <= greedy + 1e-5).all()
    assert beamed.sum() < greedy.sum()
    if beam == 1000:
        tuples = np.stack(np.meshgrid(*[np.arange(len(b)) for b in books], indexing="ij"), axis=-1).reshape(-1, 3)
        sums = residual_codes.decode(tuples.astype(np.int32), books)
        best = ((vectors[:, None] - sums[None]) ** 2).sum(axis=2).min(axis=1)
        np.testing.assert_allclose(beamed, best, atol=1e-4)


def test_beam_against_faiss() -> None:
    """The same codebooks, the same beam: the errors agree with faiss' residual quantizer."""
    import faiss

    vectors = np.random.default_rng(1).standard_normal((300, 8)).astype(np.float32)
    books = kmeans.train(vectors, [16, 16, 16], seed=0)
    peer = faiss.ResidualQuantizer(8, 3, 4)
    peer.max_beam_size = 4
    faiss.copy_array_to_vector(np.concatenate(books).ravel(), peer.codebooks)
    peer.is_trained = True
    theirs = ((vectors - peer.decode(peer.compute_codes(vectors))) ** 2).sum(axis=1)
    ours = ((vectors - residual_codes.decode(residual_codes.encode(vectors, books, 4), books)) ** 2).sum(axis=1)
    assert ours.mean() <= theirs.mean() * 1.001
