"""The search for weights, against all weights of a grid."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gti_cli.blends.calibration import calibrate, log_probabilities
from gti_cli.blends.mixing import MIXTURE, PRODUCT, Mixing
from gti_cli.blends.weight_search import HeldOut, search_weights
from tests.support.blends import made_up_scores


@pytest.fixture(scope="module")
def held_out() -> HeldOut:
    said, targets = made_up_scores()
    places = said.candidates.places_of(targets)
    comparable = [
        log_probabilities(scores, said.candidates, calibrate(scores, said.candidates, places)) for scores in said.scores
    ]
    return HeldOut(said.candidates, np.stack(comparable), said.contexts, places)


@pytest.mark.parametrize("form", [MIXTURE, PRODUCT])
def test_comes_near_the_best_of_a_full_grid(held_out, form):
    outcome = search_weights(held_out, form)
    grid = [np.array([a, b, 10 - a - b]) / 10 for a, b in itertools.product(range(11), repeat=2) if a + b <= 10]
    best = max(held_out.ndcg(Mixing.plain(form, weights)).mean() for weights in grid)
    assert outcome.ndcg >= best - 0.003
    assert outcome.ndcg == pytest.approx(held_out.ndcg(outcome.mixing).mean())
    assert outcome.mixing.weights.sum() == pytest.approx(1)
    assert outcome.complete
    # Both halves of the truth are needed.
    assert outcome.ndcg > 1.2 * max(held_out.ndcg(Mixing.plain(form, np.eye(3)[m])).mean() for m in range(3))


def test_a_budget_ends_the_search_and_is_said(held_out):
    outcome = search_weights(held_out, PRODUCT, most_tried=5)
    assert not outcome.complete
    assert outcome.tried < 5 + 7


def test_a_part_of_the_users(held_out):
    users = np.arange(0, 400, 3)
    mixing = Mixing.plain(PRODUCT, np.array([0.5, 0.3, 0.2]))
    np.testing.assert_array_equal(held_out.of_users(users).ndcg(mixing), held_out.ndcg(mixing)[users])
    alone = Mixing.plain(PRODUCT, np.array([0.0, 1.0, 0.0]))
    np.testing.assert_array_equal(
        held_out.of_members([1]).ndcg(Mixing.plain(PRODUCT, np.ones(1))), held_out.ndcg(alone)
    )
