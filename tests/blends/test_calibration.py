"""Probabilities of a recommender's scores, against scipy and a search over both numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from gti_cli.blends.calibration import UNIFORM_SHARES, Calibration, calibrate, log_probabilities
from gti_cli.blends.candidate_table import Candidates
from tests.support.blends import made_up_scores


def test_probabilities_are_a_softmax_mixed_with_the_uniform_distribution():
    candidates = Candidates(np.array([0, 3, 3, 5, 7]), np.array([1, 2, 3, 0, 9, 4, 5]))
    scores = np.array([1.0, -2.0, 0.5, 1000.0, -np.inf, -np.inf, -np.inf])
    actual = np.exp(log_probabilities(scores, candidates, Calibration(2.0, 0.1)))
    first = 0.9 * softmax(scores[:3] / 2) + 0.1 / 3
    # The last user has no known candidate: all are equally likely.
    np.testing.assert_allclose(actual, [*first, 0.95, 0.05, 0.5, 0.5])


def test_the_numbers_found_are_the_most_likely_ones():
    said, targets = made_up_scores()
    places = said.candidates.places_of(targets)
    for scores in said.scores:
        found = calibrate(scores, said.candidates, places)

        def loss(calibration, scores=scores):
            return -log_probabilities(scores, said.candidates, calibration)[places[places >= 0]].mean()

        others = [
            Calibration(found.temperature * factor, share)
            for factor in (0.6, 0.9, 1.1, 1.7)
            for share in UNIFORM_SHARES
        ]
        assert loss(found) <= min(map(loss, others)) + 3e-3


def test_the_scale_and_the_zero_of_scores_do_not_matter():
    said, targets = made_up_scores()
    places, scores = said.candidates.places_of(targets), said.scores[0]
    plain, moved = (calibrate(values, said.candidates, places) for values in (scores, 7 * scores + 100))
    assert moved.temperature == pytest.approx(7 * plain.temperature)
    assert moved.uniform_share == plain.uniform_share


@pytest.mark.parametrize("scores", [np.zeros(4), np.full(4, -np.inf)])
def test_scores_that_say_nothing_stay_uniform(scores):
    candidates = Candidates(np.array([0, 2, 4]), np.array([0, 1, 0, 1]))
    calibration = calibrate(scores, candidates, np.array([0, -1]))
    np.testing.assert_allclose(log_probabilities(scores, candidates, calibration), np.log(0.5))
