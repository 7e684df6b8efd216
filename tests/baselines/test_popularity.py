"""Popularity against a count of the training items."""

from __future__ import annotations

from collections import Counter

import numpy as np

from gti_cli.baselines.popularity import Popularity
from tests.support.baselines import ROW_OF, random_train


def test_scores_are_training_counts_and_unseen_items_are_not_recommended() -> None:
    train = random_train()
    counts = Counter(item for items in train.values() for item in items)
    scores = Popularity(train, ROW_OF).scores([[0]])[0]
    assert np.isneginf(scores).sum() == 3
    for item, row in ROW_OF.items():
        assert scores[row] == (counts[item] or -np.inf)


def test_every_user_gets_scores_of_their_own_to_change() -> None:
    model = Popularity(random_train(), ROW_OF)
    scores = model.scores([[0], [1, 2], [3]])
    assert (scores == scores[0]).all()
    scores[0, :] = -1  # as `target_ranks` does with seen items
    assert (scores[1:] != -1).all() and (model.scores([[0]])[0] != -1).all()
