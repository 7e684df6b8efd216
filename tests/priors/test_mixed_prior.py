"""A mixture's masses, from dense sums."""

from __future__ import annotations

import numpy as np

from gti_cli.baselines.item_knn import ItemKNN
from gti_cli.priors.item_knn_prior import ItemKnnPrior, LeaveOneOut
from gti_cli.priors.masses import Targets
from gti_cli.priors.mixed_prior import MixedPrior, MixedTargetMasses
from gti_cli.priors.sasrec_prior import CrossFitted
from tests.support.priors import random_sasrec

ROW_OF = {str(row): row for row in range(6)}
SEQUENCES = [[0, 1, 2], [1, 2, 3], [0, 2]]


def test_masses_become_probabilities_before_they_are_mixed() -> None:
    train = {str(user): [str(row) for row in items] for user, items in enumerate(SEQUENCES)}
    counted, network = ItemKnnPrior.of(ItemKNN(train, ROW_OF)), random_sasrec(6)
    mixture = MixedPrior([counted, network], [0.25, 0.75])
    assert mixture.name == "item-knn+sasrec"
    histories = [[0, 1], [2], [5]]
    first, second = counted.masses(histories).toarray(), network.masses(histories).toarray()
    assert first[2].sum() == 0  # Nobody has chosen anything beside item 5: there the network has all.
    expected = 0.25 * first[:2] / first[:2].sum(axis=1, keepdims=True) + 0.75 * second[:2]
    actual = mixture.masses(histories).toarray()
    np.testing.assert_allclose(actual[:2], expected, rtol=1e-6)
    np.testing.assert_allclose(actual[2] / actual[2].sum(), second[2], rtol=1e-6)

    left_out = LeaveOneOut(counted, SEQUENCES)
    fitted = CrossFitted(network, [random_sasrec(6, 1), random_sasrec(6, 2)], np.asarray([0, 1, 0]))
    parts = [Targets([0, 1, 2], (1, 2), 0), Targets([1, 2], (1,), 1)]
    first, second = (masses.masses_of_targets(parts).toarray() for masses in (left_out, fitted))
    actual = MixedTargetMasses([left_out, fitted], [0.25, 0.75]).masses_of_targets(parts).toarray()
    sums = first.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(actual, 0.25 * first / np.where(sums, sums, 1) + 0.75 * second, rtol=1e-6)
