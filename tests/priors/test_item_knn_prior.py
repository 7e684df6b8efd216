"""Masses of the item-knn prior, against the baseline's scores and a count without the user."""

from __future__ import annotations

import numpy as np
import pytest

from gti_cli.baselines.item_knn import ItemKNN, Neighbourhood
from gti_cli.priors.item_knn_prior import ItemKnnPrior

SETTINGS = [
    Neighbourhood(),
    Neighbourhood(window=20, falloff=0.5, backwards=0.0, last=3, decay=0.5, normalisation=0.0),
    Neighbourhood(window=2, falloff=0.0, backwards=1.0, last=20, decay=1.0, normalisation=0.75, shrinkage=3.0),
]


def sequences(seed: int = 0) -> dict[str, list[str]]:
    """Users who come back to items, too."""
    rng = np.random.default_rng(seed)
    return {str(user): [str(item) for item in rng.integers(0, 12, rng.integers(1, 9))] for user in range(30)}


ROW_OF = {str(item): item for item in range(12)}


@pytest.mark.parametrize("settings", SETTINGS)
def test_masses_are_the_scores_of_the_baseline(settings):
    baseline = ItemKNN(sequences(), ROW_OF, settings)
    histories = [[1], [2, 3, 2], [11, 0, 4, 5, 6, 7]]
    masses = ItemKnnPrior.of(baseline).masses(histories)
    np.testing.assert_allclose(masses.toarray(), baseline.sparse_scores(histories).toarray())


@pytest.mark.parametrize("settings", SETTINGS)
def test_without_its_own_pairs_a_user_has_not_been_counted(settings):
    train = sequences()
    baseline = ItemKNN(train, ROW_OF, settings)
    prior = ItemKnnPrior.of(baseline)
    for user in list(train)[:10]:
        items = [ROW_OF[item] for item in train[user]]
        places = list(range(1, len(items)))
        if not places:
            continue
        # Pairs are counted without the user; items are still normalised by the counts of everybody.
        others = ItemKNN({name: other for name, other in train.items() if name != user}, ROW_OF, settings)
        counted = np.divide(prior.scale, others.scale)
        similarity = others.similarity.toarray() * counted[:, None] * counted
        expected = []
        for place in places:
            recent = items[max(place - settings.last, 0) : place][::-1]
            expected.append(sum(settings.decay**back * similarity[row] for back, row in enumerate(recent)))
        actual = prior.masses_without_own(items, places)
        np.testing.assert_allclose(actual.toarray(), expected, atol=1e-9)
        assert (actual.data > 0).all()


def test_a_transition_that_nobody_else_made_has_no_mass():
    train = {"a": ["0", "1", "2"], "b": ["0", "3"]}
    prior = ItemKnnPrior.of(ItemKNN(train, ROW_OF))
    assert prior.masses([[0]]).toarray()[0, [1, 3]].min() > 0
    assert prior.masses_without_own([0, 1, 2], [1]).indices.tolist() == [3]
