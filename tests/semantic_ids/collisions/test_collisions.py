from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.semantic_ids.collisions import collisions
from gti_cli.semantic_ids.quantizers import residuals
from gti_cli.semantic_ids.quantizers.sinkhorn import balanced_assignment, transport_plan


def world(n: int, sizes: list[int], seed: int, width: int = 3, distinct: int | None = None) -> tuple:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n if distinct is None else distinct, width)).astype(np.float32)
    if distinct is not None:
        vectors = vectors[rng.integers(distinct, size=n)]
    books = [rng.standard_normal((size, width)).astype(np.float32) * 0.5**level for level, size in enumerate(sizes)]
    return vectors, books, residuals.encode(vectors, books)


def distortion(vectors: np.ndarray, books: list, codes: np.ndarray) -> float:
    return float(((vectors.astype(np.float64) - residuals.decode(codes, books)) ** 2).sum())


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    fill=st.floats(0.01, 1.0),
    distinct=st.none() | st.integers(1, 3),
    seed=st.integers(0, 20),
    policy=st.sampled_from(["next-best", "sinkhorn", "suffix"]),
)
def test_none_is_left_up_to_the_last_free_tuple(
    sizes: list[int], fill: float, distinct: int | None, seed: int, policy: str
) -> None:
    n = max(1, int(fill * math.prod(sizes)))
    vectors, books, codes = world(n, sizes, seed, distinct=distinct)
    before = codes.copy()
    found = collisions.resolve(vectors, books, codes, policy)
    np.testing.assert_array_equal(codes, before)  # the argument is left alone
    assert len(np.unique(found.codes, axis=0)) == n
    if policy == "suffix":
        np.testing.assert_array_equal(found.codes[:, :-1], codes)
        return
    assert (found.codes >= 0).all() and (found.codes < np.array(sizes)).all()
    alone = ~collisions.colliding(codes)
    if policy == "next-best":
        np.testing.assert_array_equal(found.codes[alone], codes[alone])
    assert found.moved == (found.codes != codes).any(axis=1).sum()


def test_least_total_distortion_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    for trial in range(20):
        books = [rng.standard_normal((1, 2)).astype(np.float32), rng.standard_normal((5, 2)).astype(np.float32)]
        vectors = (books[0][0] + books[1][trial % 5] + 0.05 * rng.standard_normal((4, 2))).astype(np.float32)
        codes = residuals.encode(vectors, books)
        found = collisions.resolve(vectors, books, codes, "next-best")
        options = []
        for last in itertools.permutations(range(5), 4):
            candidate = codes.copy()
            candidate[:, 1] = last
            kept = ~collisions.colliding(codes)
            if (candidate[kept] == codes[kept]).all():
                options.append(distortion(vectors, books, candidate))
        assert distortion(vectors, books, found.codes) == pytest.approx(min(options), rel=1e-5)


def test_a_full_prefix_overflows_to_the_nearest_one() -> None:
    books = [np.array([[0.0], [10.0], [30.0]], np.float32), np.array([[-0.1], [0.1]], np.float32)]
    vectors = np.zeros((3, 1), np.float32)
    found = collisions.resolve(vectors, books, residuals.encode(vectors, books), "next-best")
    assert sorted(map(tuple, found.codes.tolist())) == [(0, 0), (0, 1), (1, 0)]
    assert found.moved_prefix == 1


def test_suffix_counts_in_catalogue_order() -> None:
    codes = np.array([[0, 1], [2, 2], [0, 1], [0, 1]], dtype=np.int32)
    assert collisions.suffixes(codes).tolist() == [0, 0, 1, 2]


def test_allow_changes_nothing() -> None:
    vectors, books, codes = world(50, [2, 2], seed=1)
    assert collisions.resolve(vectors, books, codes, "allow").codes is codes


def test_refused_with_the_arithmetic() -> None:
    with pytest.raises(InputError, match=r"13 items cannot all have their own of 3 x 4 = 12 tuples"):
        collisions.check_capacity(13, [3, 4], "next-best")
    collisions.check_capacity(12, [3, 4], "sinkhorn")
    collisions.check_capacity(13, [3, 4], "suffix")
    with pytest.raises(InputError, match="unknown --collisions 'mend'"):
        collisions.check_capacity(1, [3, 4], "mend")


def test_transport_plan_against_plain_scaling() -> None:
    """The textbook iteration u = a / Kv, v = b / K'u on the kernel itself, where nothing underflows."""
    cost = np.random.default_rng(0).random((6, 4))
    scaled = (2 * cost - cost.max() - cost.min()) / (cost.max() - cost.min())
    kernel = np.exp(-scaled / 0.5)
    rows = np.ones(6)
    for _ in range(200):
        columns = (6 / 4) / (kernel.T @ rows)
        rows = 1 / (kernel @ columns)
    expected = rows[:, None] * kernel * columns[None]
    plan = np.exp(transport_plan(cost, epsilon=0.5, iterations=200))
    np.testing.assert_allclose(plan, expected, atol=1e-8)
    np.testing.assert_allclose(plan.sum(axis=0), 1.5, atol=1e-6)


def test_balanced_assignment_spreads_what_the_nearest_code_would_not() -> None:
    rng = np.random.default_rng(0)
    cost = np.abs(rng.random((40, 1)) - np.linspace(0, 4, 8)[None])
    assert len(np.unique(cost.argmin(axis=1))) <= 3
    assert len(np.unique(balanced_assignment(cost))) >= 6
    assert balanced_assignment(np.ones((3, 2))).shape == (3,)
