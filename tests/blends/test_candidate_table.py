"""The flat arrays of candidates, against loops over users."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.baselines.base import target_ranks
from gti_cli.blends.candidate_table import Candidates, best_of_each, max_by_user, rank_targets, sum_by_user, union


@st.composite
def tables(draw):
    """Candidates of some users, also of none, with scores that tie often."""
    sizes = draw(st.lists(st.integers(0, 6), min_size=1, max_size=6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = [np.sort(rng.choice(9, size, replace=False)) for size in sizes]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    scores = rng.integers(0, 4, offsets[-1]).astype(np.float64)
    return Candidates(offsets, np.concatenate(rows).astype(np.int64)), scores, rng


@given(tables())
def test_sums_and_maxima_are_those_of_a_loop(table):
    candidates, scores, _ = table
    parts = np.split(scores, candidates.offsets[1:-1])
    np.testing.assert_array_equal(sum_by_user(scores, candidates.offsets), [part.sum() for part in parts])
    np.testing.assert_array_equal(
        max_by_user(scores, candidates.offsets), [part.max() if len(part) else -np.inf for part in parts]
    )


@given(tables())
def test_ranks_and_lists_are_those_of_a_full_score_matrix(table):
    candidates, scores, rng = table
    users = len(candidates.offsets) - 1
    dense = np.full((users, 9), -np.inf)
    dense[candidates.owners, candidates.rows] = scores
    targets = rng.integers(0, 9, users)
    ranks = rank_targets(scores, candidates, candidates.places_of(targets))
    expected = target_ranks(dense.copy(), [[]] * users, targets.tolist(), filter_seen=False)
    np.testing.assert_array_equal(ranks.ahead, expected.ahead)
    np.testing.assert_array_equal(ranks.ties, expected.ties)
    lists, values = best_of_each(scores, candidates, 3)
    for user in range(users):
        best = sorted((-value, row) for row, value in enumerate(dense[user]) if np.isfinite(value))[:3]
        assert lists[user].tolist() == [row for _, row in best] + [-1] * (3 - len(best))
        assert values[user].tolist() == [-value for value, _ in best] + [-np.inf] * (3 - len(best))


@given(tables())
def test_the_candidates_of_some_users(table):
    candidates, scores, rng = table
    users = np.flatnonzero(rng.random(len(candidates.offsets) - 1) < 0.5)
    part, entries = candidates.of_users(users)
    parts, values = np.split(candidates.rows, candidates.offsets[1:-1]), np.split(scores, candidates.offsets[1:-1])
    assert part.rows.tolist() == [row for user in users for row in parts[user]]
    assert scores[entries].tolist() == [value for user in users for value in values[user]]


def test_a_union_holds_every_listed_item_once_and_none_that_was_seen():
    lists = [np.array([[3, 1, -1], [0, 2, 4]]), np.array([[1, 7], [-1, -1]])]
    every = union(lists, [[3, 8], [2]], filter_seen=False)
    assert (every.offsets.tolist(), every.rows.tolist()) == ([0, 3, 6], [1, 3, 7, 0, 2, 4])
    unseen = union(lists, [[3, 8], [2]], filter_seen=True)
    assert (unseen.offsets.tolist(), unseen.rows.tolist()) == ([0, 2, 4], [1, 7, 0, 4])
    nothing = union([np.array([[3], [2]])], [[3], [2]], filter_seen=True)
    assert (nothing.offsets.tolist(), nothing.rows.tolist()) == ([0, 0, 0], [])
