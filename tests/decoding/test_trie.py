"""The trie against dictionaries of prefixes."""

from __future__ import annotations

from collections import defaultdict
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gti_cli.decoding.trie import Trie, build_trie

CODES = hnp.arrays(np.int32, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.integers(0, 3))


def paths(trie: Trie) -> dict[tuple[int, ...], int]:
    """Every prefix in the trie and its node, by walking from the root."""
    found = {(): 0}
    frontier = [((), 0)]
    for level in range(trie.levels):
        below = []
        for prefix, node in frontier:
            for child in range(trie.starts[level][node], trie.starts[level][node + 1]):
                path = (*prefix, int(trie.codes[level][child]))
                assert path not in found
                found[path] = child
                below.append((path, child))
        frontier = below
    return found


@given(CODES)
def test_walk_finds_every_prefix_and_nothing_else(codes: np.ndarray) -> None:
    trie = build_trie(codes)
    prefixes = {tuple(row[:length].tolist()) for row in codes for length in range(codes.shape[1] + 1)}
    found = paths(trie)
    assert set(found) == prefixes
    for level in range(trie.levels):
        for node in range(len(trie.starts[level]) - 1):
            run = trie.codes[level][trie.starts[level][node] : trie.starts[level][node + 1]]
            assert len(run) > 0
            assert (np.diff(run) > 0).all()


@given(CODES)
def test_leaves_hold_their_items(codes: np.ndarray) -> None:
    trie = build_trie(codes)
    expected = defaultdict(list)
    for item, row in enumerate(codes):
        expected[tuple(row.tolist())].append(item)
    found = {tuple(trie.leaf_codes[leaf].tolist()): trie.items_of(leaf).tolist() for leaf in range(trie.leaves)}
    assert found == dict(expected)
    assert trie.max_children()[0] == len(np.unique(codes[:, 0]))


@given(CODES, st.randoms(use_true_random=False))
def test_from_items_to_leaves_and_up_to_the_root(codes: np.ndarray, random: Random) -> None:
    trie = build_trie(codes)
    nodes = paths(trie)
    assert [trie.leaf_codes[leaf].tolist() for leaf in trie.leaf_of_row] == codes.tolist()
    leaves = random.choices(range(trie.leaves), k=5)
    found = trie.paths(np.asarray(leaves))
    assert len(found) == trie.levels + 1
    for length, level in enumerate(found):
        assert level.tolist() == [nodes[tuple(trie.leaf_codes[leaf][:length].tolist())] for leaf in leaves]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_nothing_to_build(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one item"):
        build_trie(np.zeros(shape, np.int32))


def test_a_million_ids_are_built_by_sorting() -> None:
    codes = np.random.default_rng(0).integers(0, 256, (1_000_000, 4), dtype=np.int32)
    trie = build_trie(codes)
    assert trie.leaves == len(np.unique(codes, axis=0))
    assert len(trie.items) == 1_000_000
