"""Masses of the item-knn prior, against the baseline's scores and a count without the user."""

from __future__ import annotations

import numpy as np
import pytest

from gti_cli.baselines.item_knn import ItemKNN, Neighbourhood
from gti_cli.priors.item_knn_prior import ItemKnnPrior
from gti_cli.priors.masses import Targets

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


def without(user: str, train: dict[str, list[str]], prior: ItemKnnPrior, items: list[int], places: list[int]):
    """Masses from a count of everybody else; items are still normalised by the counts of everybody."""
    others = ItemKNN({name: other for name, other in train.items() if name != user}, ROW_OF, prior.settings)
    factor = prior.scale / others.scale
    similarity = others.similarity.toarray() * factor[:, None] * factor
    expected = []
    for place in places:
        recent = items[max(place - prior.settings.last, 0) : place][::-1]
        expected.append(sum(prior.settings.decay**back * similarity[row] for back, row in enumerate(recent)))
    return np.asarray(expected)


@pytest.mark.parametrize("in_float32", [False, True])
@pytest.mark.parametrize("settings", SETTINGS)
def test_without_its_own_pairs_a_user_has_not_been_counted(settings, in_float32):
    train = sequences()
    prior = ItemKnnPrior.of(ItemKNN(train, ROW_OF, settings))
    if in_float32:  # as it is stored
        prior.similarity.data = prior.similarity.data.astype(np.float32).astype(np.float64)
    rows = [[ROW_OF[item] for item in items] for items in train.values()]
    parts, expected = [], []
    for number, (user, items) in enumerate(zip(train, rows, strict=True)):
        if len(items) < 3:
            continue
        whole = Targets(items, list(range(1, len(items))), number)
        # A part of the sequence: what lies outside is subtracted all the same.
        part = Targets(items[1:3], [1], number)
        # A second validation item, say: the first one stands in its history, and was not counted with the user.
        behind = Targets([*items, *(set(range(12)) - set(items)), items[0]], [len(items) + 1, 12], number)
        # These items are of nobody who was counted.
        strange = Targets(items[:2], [1])
        parts += [whole, part, behind, strange]
        expected += [without(user, train, prior, list(one.items), list(one.places)) for one in (whole, part, behind)]
        expected.append(prior.masses([items[:1]]).toarray())
    assert len(parts) > 20
    actual = prior.masses_without_own(parts, rows)
    np.testing.assert_allclose(actual.toarray(), np.concatenate(expected), rtol=2e-6, atol=1e-9)
    assert ((actual.data > 1e-5) | (actual.data == 0)).all()  # no rounding is left where nobody else has counted


def test_a_transition_that_nobody_else_made_has_no_mass():
    train = {"a": ["0", "1", "2"], "b": ["0", "3"]}
    prior = ItemKnnPrior.of(ItemKNN(train, ROW_OF))
    assert prior.masses([[0]]).toarray()[0, [1, 3]].min() > 0
    assert prior.masses_without_own([Targets([0, 1, 2], [1], 0)], [[0, 1, 2], [0, 3]]).toarray().nonzero()[
        1
    ].tolist() == [3]
