"""Lists with a choice of items for each request against sorting the scores of all items."""

from __future__ import annotations

import numpy as np
import pytest

from gti_cli.decoding.constraints.allowed_nodes import AllowedItems, ItemChoice
from gti_cli.recommender.recommender import Recommender
from gti_cli.recommender.search import search_lists
from gti_cli.recommender.settings import ListSettings
from tests.support.evaluation import ITEMS, World
from tests.support.priors import made_prior, scores_with_prior

HISTORIES = [[1, 4], [2, 9, 11, 3, 8], [20], [7, 7]]


@pytest.mark.parametrize("search", ["exact", "beam"])
def test_with_a_prior_each_prompt_has_its_own_items(search: str, with_prior: Recommender, small_world: World) -> None:
    rng = np.random.default_rng(3)
    masks = rng.random((3, ITEMS)) < np.asarray([0.1, 0.5, 2.0])[:, None]
    masks[0, [3, 5]] = True, False  # item 7 shares the semantic ID of item 3
    masks[0, 7] = False
    allowed = AllowedItems([ItemChoice.of_mask(mask) for mask in masks], np.asarray([0, 1, 2, 0]))
    hidden = [set(), {2, 9}, {20}, set()]
    prompts = with_prior.model.prompts_of_histories(HISTORIES)
    found = search_lists(with_prior.model, prompts, ListSettings(6, search, 40), hidden=hidden, allowed=allowed)
    for number, history in enumerate(HISTORIES):
        scores = scores_with_prior(small_world, made_prior(small_world), history)
        rows = [row for row in np.flatnonzero(allowed.of(number).mask()) if row not in hidden[number]]
        best = sorted(rows, key=lambda row: -round(float(scores[row]), 4))[:6]
        assert found.lists[number].rows == best
        np.testing.assert_allclose(found.lists[number].scores, scores[best], atol=1e-4)
    assert all(found.proven) and found.is_exact == (search == "exact")
