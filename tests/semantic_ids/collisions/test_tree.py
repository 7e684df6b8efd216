from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.semantic_ids.collisions.tree import CodeTree


def make_tree(sizes: list[int], used: set[tuple[int, ...]]) -> CodeTree:
    return CodeTree(sizes, np.array(sorted(used), dtype=np.int32).reshape(-1, len(sizes)))


def shared_prefix(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return next((depth for depth, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))


@settings(max_examples=60)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), fill=st.floats(0, 1), seed=st.integers(0, 20))
def test_room_below_each_prefix_against_all_tuples(sizes: list[int], fill: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    every = list(itertools.product(*map(range, sizes)))
    used = {code for code in every if rng.random() < fill}
    tree, one_by_one = make_tree(sizes, used), CodeTree(sizes)
    for number, code in enumerate(sorted(used)):
        one_by_one.add(np.array(code))
        if number == 1:
            for depth in range(len(sizes)):
                one_by_one.children(code[:depth])  # prefixes that were counted before others are added
    for depth in range(len(sizes) + 1):
        for prefix in itertools.product(*map(range, sizes[:depth])):
            expected = any(code[:depth] == prefix for code in set(every) - used)
            assert tree.has_room(prefix) == one_by_one.has_room(prefix) == expected
            if depth < len(sizes):
                below = [sum(code[: depth + 1] == (*prefix, last) for code in used) for last in range(sizes[depth])]
                assert tree.children(prefix).tolist() == one_by_one.children(prefix).tolist() == below


def test_a_search_copies_no_level_of_all_items() -> None:
    """With ten million items such a copy for each prefix was most of the time."""
    items = 200_000
    codes = np.random.default_rng(0).integers(0, [200, 200, 200], size=(items, 3)).astype(np.int32)
    tree = CodeTree([256, 256, 256], codes)
    tracemalloc.start()
    try:
        for prefix in ((3,), (3, 5), (190, 7)):
            below = tree.children(prefix)
            assert below.sum() == (codes[:, : len(prefix)] == prefix).all(axis=1).sum()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        tree.children((100, 9))
        assert tracemalloc.get_traced_memory()[1] - before < items / 10  # a level has four bytes for each item
    finally:
        tracemalloc.stop()


def greedily_down(
    vector: np.ndarray, books: list[np.ndarray], free: set[tuple[int, ...]], prefix: tuple[int, ...]
) -> tuple[int, ...]:
    """From a prefix down to a free tuple, always to the code that brings the sum nearest to the vector."""
    for level in range(len(prefix), len(books)):
        start = sum((books[above][code] for above, code in enumerate(prefix)), np.zeros(2))
        codes = {code[level] for code in free if code[:level] == prefix}
        prefix = (*prefix, min(codes, key=lambda code: math.dist(vector, start + books[level][code])))
    return prefix


@settings(max_examples=60)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), free=st.integers(1, 20), seed=st.integers(0, 20))
def test_the_free_tuple_is_found_greedily_below_the_longest_prefix_possible(
    sizes: list[int], free: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    every = list(itertools.product(*map(range, sizes)))
    if len(every) == 1:
        return  # a tuple that is not free, and a free one, make two
    rng.shuffle(every)
    used = {tuple(code) for code in every[min(free, len(every) - 1) :]}
    wish = sorted(used)[0]
    books = [rng.standard_normal((size, 2)).astype(np.float32) for size in sizes]
    vector = rng.standard_normal(2).astype(np.float32)
    chosen = make_tree(sizes, used).nearest_free(vector, np.array(wish, dtype=np.int32), books)
    norms = [(book * book).sum(axis=1) for book in books]
    again = make_tree(sizes, used).nearest_free(vector, np.array(wish, dtype=np.int32), books, norms)
    assert again.tolist() == chosen.tolist()
    candidates = {tuple(code) for code in every} - used
    kept = max(shared_prefix(code, wish) for code in candidates)
    assert chosen.dtype == np.int32 and tuple(chosen.tolist()) == greedily_down(vector, books, candidates, wish[:kept])


@pytest.mark.parametrize("seed", range(5))
def test_several_levels_down_each_code_is_nearest_to_what_is_left(seed: int) -> None:
    rng = np.random.default_rng(seed)
    books = [rng.standard_normal((size, 2)).astype(np.float32) for size in (3, 5, 5)]
    vector = rng.standard_normal(2).astype(np.float32)
    every = set(itertools.product(range(3), range(5), range(5)))
    used = {code for code in every if code[0] == 0}  # the first code has no room
    chosen = make_tree([3, 5, 5], used).nearest_free(vector, np.array([0, 2, 2], dtype=np.int32), books)
    assert tuple(chosen.tolist()) == greedily_down(vector, books, every - used, ())


@pytest.mark.parametrize("seed", range(10))
def test_the_last_level_takes_the_nearest_free_code(seed: int) -> None:
    rng = np.random.default_rng(seed)
    books = [rng.standard_normal((size, 3)).astype(np.float32) for size in (2, 6)]
    used = {(0, code) for code in rng.choice(6, size=3, replace=False).tolist()}
    vector = rng.standard_normal(3).astype(np.float32)
    wish = sorted(used)[0]
    chosen = make_tree([2, 6], used).nearest_free(vector, np.array(wish, dtype=np.int32), books)
    free = [code for code in range(6) if (0, code) not in used]
    distances = {code: math.dist(vector, books[0][0] + books[1][code]) for code in free}
    assert chosen.tolist() == [0, min(distances, key=lambda code: distances[code])]


def test_of_equally_near_codes_the_first_free_one_is_taken() -> None:
    distances = np.random.default_rng(0).integers(1, 4, 300)  # a hundred codes at each of three distances
    books = [np.zeros((1, 1), dtype=np.float32), distances[:, None].astype(np.float32)]
    near = np.flatnonzero(distances == 1).tolist()
    tree = make_tree([1, 300], {(0, code) for code in near[:40]})
    chosen = tree.nearest_free(np.zeros(1, dtype=np.float32), np.array([0, near[0]], dtype=np.int32), books)
    assert chosen.tolist() == [0, near[40]]
