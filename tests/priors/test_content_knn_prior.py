"""Masses of content-knn, against a softmax of the baseline's scores; and embeddings in another order."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from gti_cli.baselines.content_knn import ContentKNN, ItemSpace
from gti_cli.priors.content_knn_prior import PlainTargetMasses, placed_vectors
from gti_cli.priors.masses import Targets
from tests.support.priors import random_content

ITEMS = 9


def test_masses_are_a_softmax_of_the_scores_and_own_and_unknown_items_have_none() -> None:
    prior = random_content(ITEMS, temperature=0.3)
    settings = prior.settings
    vectors = prior.vectors.astype(np.float32)
    space = ItemSpace(vectors, prior.spread, centring=settings.centring, whitening=settings.whitening)
    histories = [[1, 2, 3], [5]]
    scores = ContentKNN(space, settings).scores(histories)
    masses = prior.masses(histories).toarray()
    for number, history in enumerate(histories):
        others = [row for row in range(ITEMS - 1) if row not in history]
        np.testing.assert_allclose(masses[number, others], softmax(scores[number, others] / 0.3), rtol=1e-9)
        assert not masses[number, [*history, ITEMS - 1]].any()
    assert not prior.masses([[ITEMS - 1]]).toarray().any()  # nothing is known of the only item of the history
    few = random_content(ITEMS, temperature=0.3, most_items=3).masses(histories).toarray()
    np.testing.assert_array_equal(np.where(few > 0, masses, 0), few)
    assert (few > 0).sum(1).tolist() == [3, 3]


def test_in_training_it_is_the_same_behind_each_target() -> None:
    prior = random_content(ITEMS, temperature=0.3)
    parts = [Targets([4, 2, 7, 1], (2, 3), 0), Targets([3, 8], (1,), 5)]
    actual = PlainTargetMasses(prior).masses_of_targets(parts).toarray()
    np.testing.assert_array_equal(actual, prior.masses([[4, 2], [4, 2, 7], [3]]).toarray())


def test_items_that_came_later_get_their_embeddings() -> None:
    prior = random_content(ITEMS, temperature=0.3)
    now = np.random.default_rng(3).normal(size=prior.vectors.shape).astype(np.float32)
    later = prior.with_new(now)
    np.testing.assert_array_equal(later.vectors[:-1], prior.vectors[:-1])
    np.testing.assert_array_equal(later.vectors[-1], now[-1].astype(np.float16))
    masses = later.masses([[1, 2]]).toarray()[0]
    assert masses[-1] > 0 == prior.masses([[1, 2]])[0, ITEMS - 1]
    assert prior.with_new(now[:, :2]) is prior and later.with_new(now) is later


def test_embeddings_are_placed_by_catalogue_row() -> None:
    vectors = np.arange(6, dtype=np.float16).reshape(3, 2)
    placed = placed_vectors(vectors, np.asarray([3, -1, 0]), 4)
    assert placed.tolist() == [[4, 5], [0, 0], [0, 0], [0, 1]]
