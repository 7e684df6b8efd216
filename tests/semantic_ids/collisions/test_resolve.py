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
    rows = list(map(tuple, codes.tolist()))
    alone = np.array([rows.count(row) == 1 for row in rows])
    assert colliding(codes).tolist() == (~alone).tolist()
    if policy == "next-best":
        np.testing.assert_array_equal(resolved.codes[alone], codes[alone])
    pairs = list(zip(resolved.codes.tolist(), codes.tolist(), strict=True))
    assert resolved.moved == sum(now != then for now, then in pairs)
    assert resolved.moved_prefix == sum(now[:-1] != then[:-1] for now, then in pairs)


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
            kept = np.array([codes.tolist().count(row) == 1 for row in codes.tolist()])
            if (candidate[kept] == codes[kept]).all():
                options.append(distortion(vectors, books, candidate))
        assert distortion(vectors, books, resolved.codes) == pytest.approx(min(options), rel=1e-5)


def test_each_prefix_is_assigned_by_itself_around_the_codes_of_earlier_items() -> None:
    rng = np.random.default_rng(2)
    books = [np.array([[-9.0, 0.0], [9.0, 0.0]], np.float32), rng.standard_normal((5, 2)).astype(np.float32)]
    near = books[1][1] + 0.1 * rng.standard_normal((6, 2))  # all six items are nearest to code 1 of their prefix
    vectors = (near + np.repeat(books[0], 3, axis=0)).astype(np.float32)
    codes, taken = residual_codes.encode(vectors, books), np.array([[0, 1], [1, 0]], dtype=np.int32)
    assert codes.tolist() == [[0, 1]] * 3 + [[1, 1]] * 3
    resolved = resolve_collisions(vectors, books, codes, "next-best", taken)
    assert resolved.codes.dtype == np.int32 and (resolved.moved, resolved.moved_prefix) == (5, 0)
    for prefix, free in enumerate(([0, 2, 3, 4], [1, 2, 3, 4])):
        own = slice(3 * prefix, 3 * prefix + 3)
        best = min(
            itertools.permutations(free, 3),
            key=lambda last: sum(((near[own] - books[1][list(last)]) ** 2).sum(axis=1)),
        )
        assert resolved.codes[own].tolist() == [[prefix, code] for code in best]


def test_a_full_prefix_overflows_to_the_nearest_one() -> None:
    books = [np.array([[0.0], [10.0], [30.0]], np.float32), np.array([[-0.1], [0.1]], np.float32)]
    vectors = np.zeros((3, 1), np.float32)
    resolved = resolve_collisions(vectors, books, residual_codes.encode(vectors, books), "next-best")
    assert sorted(map(tuple, resolved.codes.tolist())) == [(0, 0), (0, 1), (1, 0)]
    assert resolved.moved_prefix == 1


def test_suffix_counts_in_catalogue_order() -> None:
    codes = np.array([[0, 1], [2, 2], [0, 1], [0, 1]], dtype=np.int32)
    assert suffixes(codes).tolist() == [0, 0, 1, 2]
    assert suffixes(codes).dtype == np.int32  # codes and suffixes are put side by side
    assert suffixes(codes[:0]).tolist() == []


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
    with pytest.raises(InputError, match="13 items"):
        check_capacity(13, [3, 4], "sinkhorn")
    with pytest.raises(InputError, match=r"Raise --codes to 2 or more, or use --collisions"):
        check_capacity(4, [1, 2], "next-best")
    with pytest.raises(InputError, match=r"Raise --codes to 4 or more, or --levels to 2, or use --collisions"):
        check_capacity(4, [2], "next-best")
    with pytest.raises(InputError, match=r"unknown --collisions 'mend'.*Use one of next-best, sinkhorn, suffix, allow"):
        check_capacity(1, [3, 4], "mend")


def test_suffixes_count_on_from_those_of_earlier_items() -> None:
    taken = np.array([[0, 1, 0], [0, 1, 3], [5, 5, 0]], dtype=np.int32)
    assert suffixes(np.array([[0, 1], [2, 2], [0, 1], [5, 5]], dtype=np.int32), taken).tolist() == [4, 0, 5, 1]


def test_suffixes_of_new_items_follow_those_of_earlier_ones() -> None:
    vectors, books, _ = world(3, [2, 2], seed=1)
    codes, taken = np.array([[0, 1], [1, 1], [0, 1]], dtype=np.int32), np.array([[0, 1, 2]], dtype=np.int32)
    resolved = resolve_collisions(vectors, books, codes, "suffix", taken)
    assert resolved.codes.tolist() == [[0, 1, 3], [1, 1, 0], [0, 1, 4]]


def test_next_best_leaves_the_item_without_a_collision_and_sinkhorn_moves_it_where_that_is_cheaper() -> None:
    books = [np.zeros((1, 1), np.float32), np.array([[0.0], [1.0], [5.0]], np.float32)]
    vectors = np.array([[0.0], [0.45], [1.4]], np.float32)
    codes = residual_codes.encode(vectors, books)
    assert codes[:, 1].tolist() == [0, 0, 1]
    assert resolve_collisions(vectors, books, codes, "next-best").codes[:, 1].tolist() == [0, 2, 1]
    assert resolve_collisions(vectors, books, codes, "sinkhorn").codes[:, 1].tolist() == [0, 1, 2]
    # Where an earlier item has the first code, all three take the other ones, in their order.
    books[1] = np.array([[0.0], [1.0], [5.0], [3.0]], np.float32)
    taken = np.array([[0, 0]], dtype=np.int32)
    assert resolve_collisions(vectors, books, codes, "sinkhorn", taken).codes[:, 1].tolist() == [1, 3, 2]


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
