"""Masses of the sasrec prior, against the network's own scores; and which network gives them in training."""

from __future__ import annotations

import numpy as np
import pytest

from gti_cli.priors.masses import Targets
from gti_cli.priors.sasrec_prior import CrossFitted, SasrecPrior
from tests.support.priors import random_sasrec

ITEMS = 12
HISTORIES = [[1], [2, 3, 2], [11, 0, 4, 5, 6, 7]]


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_masses_are_the_softmax_of_the_scores(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    prior = random_sasrec(ITEMS, temperature=temperature)
    exponents = np.exp(prior.fitted.scores(HISTORIES) / temperature)
    expected = exponents / exponents.sum(axis=1, keepdims=True)
    assert expected.max() > 2 / ITEMS  # The network has preferences.
    np.testing.assert_allclose(prior.masses(HISTORIES).toarray(), expected, rtol=1e-6)
    # A large catalogue is scored for a few histories at a time.
    monkeypatch.setattr("gti_cli.priors.sasrec_prior._CELLS_AT_ONCE", 2 * ITEMS)
    np.testing.assert_allclose(prior.masses(HISTORIES).toarray(), expected, rtol=1e-5)
    assert prior.masses([]).shape == (0, ITEMS)


def test_only_the_likeliest_items_have_mass() -> None:
    whole = random_sasrec(ITEMS).masses(HISTORIES).toarray()
    cut = random_sasrec(ITEMS, most_items=5).masses(HISTORIES).toarray()
    for before, after in zip(whole, cut, strict=True):
        best = np.argsort(-before)[:5]
        assert set(after.nonzero()[0]) == set(best)
        np.testing.assert_allclose(after[best], before[best], rtol=1e-6)


def test_items_that_came_later_have_no_mass_and_are_skipped_in_histories() -> None:
    known = random_sasrec(3)
    prior = SasrecPrior(known.fitted, np.asarray([2, -1, 0, 1]))
    masses = prior.masses([[1, 3], [1], [0, 1, 2]]).toarray()
    expected = known.masses([[1], [2, 0]]).toarray()[:, [2, 0, 1]]
    np.testing.assert_allclose(masses[[0, 2]][:, [0, 2, 3]], expected, rtol=1e-6)
    assert not masses[:, 1].any() and not masses[1].any()


def test_each_target_gets_its_masses_from_a_network_without_its_user() -> None:
    whole, *folds = (random_sasrec(ITEMS, seed) for seed in range(3))
    fitted = CrossFitted(whole, folds, np.asarray([1, 0, 1]))
    parts = [
        Targets([1, 2, 3], (1, 2), 0),
        Targets([5, 4], (1,)),
        Targets([7, 1, 9], (2,), 1),
        Targets([3, 3], (1,), 2),
    ]
    expected = [
        folds[1].masses([[1], [1, 2]]),
        whole.masses([[5]]),
        folds[0].masses([[7, 1]]),
        folds[1].masses([[3]]),
    ]
    actual = fitted.masses_of_targets(parts).toarray()
    np.testing.assert_allclose(actual, np.concatenate([m.toarray() for m in expected]), rtol=1e-5)
    assert np.abs(folds[0].masses([[1]]).toarray() - actual[0]).max() > 0.01  # The networks differ.
