"""A baseline over a catalogue with other items than those that it was fitted to."""

from __future__ import annotations

import numpy as np

from gti_cli.baselines.base import Candidates
from gti_cli.baselines.item_knn import ItemKNN
from gti_cli.baselines.stored.known_items import OverKnownItems, without_items
from tests.support.baselines import ITEMS, ROW_OF, random_train

# The catalogue: two new items, and the old ones in another order, of which one is gone.
ORDER = np.random.default_rng(5).permutation(ITEMS)[:-1]
KNOWN_ROW = np.concatenate([[-1], ORDER, [-1]])


def test_items_are_found_by_id_and_new_ones_are_not_recommended() -> None:
    fitted = ItemKNN(random_train(), ROW_OF)
    over = OverKnownItems(fitted, KNOWN_ROW)
    histories = [[3, 0, 5], [1], [0, 15]]  # rows of the catalogue; the last history has new items alone
    scores = over.scores(histories)
    for user, history in enumerate([[KNOWN_ROW[3], KNOWN_ROW[5]], [KNOWN_ROW[1]]]):
        expected = fitted.scores([[int(row) for row in history]])[0]
        assert np.isfinite(expected).any()
        np.testing.assert_array_equal(scores[user, 1:-1], expected[ORDER])
    assert (scores[:, [0, -1]] == -np.inf).all() and (scores[2] == -np.inf).all()
    lists = [[0, 4, 7], [], list(range(len(KNOWN_ROW)))]
    candidates = Candidates.from_lists(lists)
    expected = np.concatenate([scores[user, rows] for user, rows in enumerate(lists) if rows])
    np.testing.assert_allclose(over.candidate_scores(histories, candidates), expected)


def test_hidden_items_take_no_place_in_a_history() -> None:
    fitted = ItemKNN(random_train(), ROW_OF)
    over = without_items(fitted, np.asarray([2, 5]), ITEMS)
    scores, expected = over.scores([[1, 3, 2, 5], [2, 5]]), fitted.scores([[1, 3]])[0]
    shown = [row for row in range(ITEMS) if row not in (2, 5)]
    np.testing.assert_array_equal(scores[0, shown], expected[shown])
    assert np.isfinite(expected).any() and (scores[:, [2, 5]] == -np.inf).all() and (scores[1] == -np.inf).all()
