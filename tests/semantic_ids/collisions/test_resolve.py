from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.semantic_ids.collisions.resolve import check_capacity, colliding, resolve_collisions, suffixes
from gti_cli.semantic_ids.quantizers import residual_codes


def world(n: int, sizes: list[int], seed: int, width: int = 3, distinct: int | None = None) -> tuple:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n if distinct is None else distinct, width)).astype(np.float32)
    if distinct is not None:
        vectors = vectors[rng.integers(distinct, size=n)]
    books = [rng.standard_normal((size, width)).astype(np.float32) * 0.5**level for level, size in enumerate(sizes)]
    return vectors, books, residual_codes.encode(vectors, books)


def distortion(vectors: np.ndarray, books: list, codes: np.ndarray) -> float:
    return float(((vectors.astype(np.float64) - residual_codes.decode(codes, books)) ** 2).sum())


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    fill=st.floats(0.01, 1.0),
    distinct=st.none() | st.integers(1, 3),
    seed=st.integers(0, 20),
    policy=st.sampled_from(["next-best", "sinkhorn", "suffix"]),
)
def test_no_collision_is_left_up_to_the_last_free_tuple(
    sizes: list[int], fill: float, distinct: int | None, seed: int, policy: str
) -> None:
    n = max(1, int(fill * math.prod(sizes)))
    vectors, books, codes = world(n, sizes, seed, distinct=distinct)
    before = codes.copy()
    resolved = resolve_collisions(vectors, books, codes, policy)
    np.testing.assert_array_equal(codes, before)  # the argument is left alone
    assert len(np.unique(resolved.codes, axis=0)) == n
    if policy == "suffix":
        np.testing.assert_array_equal(resolved.codes[:, :-1], codes)
        return
    assert (resolved.codes >= 0).all() and (resolved.codes < np.array(sizes)).all()
    alone = ~colliding(codes)
    if policy == "next-best":
        np.testing.assert_array_equal(resolved.codes[alone], codes[alone])
    assert resolved.moved == (resolved.codes != codes).any(axis=1).sum()


def test_least_total_distortion_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    for trial in range(20):
        books = [rng.standard_normal((1, 2)).astype(np.float32), rng.standard_normal((5, 2)).astype(np.float32)]
        vectors = (books[0][0] + books[1][trial % 5] + 0.05 * rng.standard_normal((4, 2))).astype(np.float32)
        codes = residual_codes.encode(vectors, books)
        resolved = resolve_collisions(vectors, books, codes, "next-best")
        options = []
        for last in itertools.permutations(range(5), 4):
            candidate = codes.copy()
            candidate[:, 1] = last
            kept = ~colliding(codes)
            if (candidate[kept] == codes[kept]).all():
                options.append(distortion(vectors, books, candidate))
        assert distortion(vectors, books, resolved.codes) == pytest.approx(min(options), rel=1e-5)


def test_a_full_prefix_overflows_to_the_nearest_one() -> None:
    books = [np.array([[0.0], [10.0], [30.0]], np.float32), np.array([[-0.1], [0.1]], np.float32)]
    vectors = np.zeros((3, 1), np.float32)
    resolved = resolve_collisions(vectors, books, residual_codes.encode(vectors, books), "next-best")
    assert sorted(map(tuple, resolved.codes.tolist())) == [(0, 0), (0, 1), (1, 0)]
    assert resolved.moved_prefix == 1


def test_suffix_counts_in_catalogue_order() -> None:
    codes = np.array([[0, 1], [2, 2], [0, 1], [0, 1]], dtype=np.int32)
    assert suffixes(codes).tolist() == [0, 0, 1, 2]


def test_allow_changes_nothing() -> None:
    vectors, books, codes = world(50, [2, 2], seed=1)
    assert resolve_collisions(vectors, books, codes, "allow").codes is codes


def test_refused_with_the_arithmetic() -> None:
    with pytest.raises(InputError, match=r"13 items cannot all have their own of 3 x 4 = 12 tuples"):
        check_capacity(13, [3, 4], "next-best")
    with pytest.raises(InputError, match=r"Raise --codes to 10 or more, or --levels to 4, or use --collisions"):
        check_capacity(1000, [6, 7, 8], "next-best")
    with pytest.raises(InputError, match=r"Raise --codes to 10 or more, or use --collisions"):
        check_capacity(1000, [1, 1, 1], "next-best")
    check_capacity(1000, [10, 10, 10], "next-best")
    check_capacity(12, [3, 4], "sinkhorn")
    check_capacity(13, [3, 4], "suffix")
    with pytest.raises(InputError, match="unknown --collisions 'mend'"):
        check_capacity(1, [3, 4], "mend")


def test_suffixes_count_on_from_those_of_earlier_items() -> None:
    taken = np.array([[0, 1, 0], [0, 1, 3], [5, 5, 0]], dtype=np.int32)
    assert suffixes(np.array([[0, 1], [2, 2], [0, 1], [5, 5]], dtype=np.int32), taken).tolist() == [4, 0, 5, 1]


@pytest.mark.parametrize("policy", ["next-best", "sinkhorn"])
def test_taken_tuples_are_never_given_twice(policy: str) -> None:
    rng = np.random.default_rng(0)
    books = [rng.standard_normal((3, 2)).astype(np.float32), rng.standard_normal((4, 2)).astype(np.float32)]
    vectors = rng.standard_normal((12, 2)).astype(np.float32)
    old = resolve_collisions(vectors[:7], books, residual_codes.encode(vectors[:7], books), policy).codes
    new = resolve_collisions(vectors[7:], books, residual_codes.encode(vectors[7:], books), policy, old).codes
    assert len(np.unique(np.vstack([old, new]), axis=0)) == 12  # all tuples there are


@given(data=st.data(), levels=st.integers(1, 3), n=st.integers(1, 30), earlier=st.integers(0, 12))
def test_suffixes_against_a_count_of_each_tuple(data: st.DataObject, levels: int, n: int, earlier: int) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    codes = rng.integers(3, size=(n, levels)).astype(np.int32)
    taken = np.hstack([rng.integers(3, size=(earlier, levels)), rng.integers(50, size=(earlier, 1))]).astype(np.int32)
    following: dict[tuple[int, ...], int] = {}
    for *prefix, suffix in taken.tolist():
        following[tuple(prefix)] = max(following.get(tuple(prefix), 0), suffix + 1)
    expected = []
    for row in map(tuple, codes.tolist()):
        expected.append(following.get(row, 0))
        following[row] = expected[-1] + 1
    assert suffixes(codes, taken if earlier else None).tolist() == expected
