"""A fitted blend: better than its members, the same after JSON, and made of fewer members where asked."""

from __future__ import annotations

import json

import numpy as np

from gti_cli.blends.candidate_table import rank_targets
from gti_cli.blends.fit import Blend, fit_blend
from gti_cli.blends.mixing import PRODUCT
from gti_cli.metrics.ranking import ndcg_at
from tests.support.blends import made_up_scores


def ndcg(scores, said, targets) -> float:
    return float(ndcg_at(rank_targets(scores, said.candidates, said.candidates.places_of(targets)), 10).mean())


def test_is_better_than_each_member_on_users_that_it_was_not_fitted_to():
    said, targets = made_up_scores(seed=0)
    blend, choice = fit_blend(said, targets)
    other, other_targets = made_up_scores(seed=1)
    own = ndcg(blend.scores(other), other, other_targets)
    assert own > 1.2 * max(ndcg(scores, other, other_targets) for scores in other.scores)
    assert abs(own - choice.cross_fitted.mean()) < 0.05
    read = Blend.from_json(json.loads(json.dumps(blend.as_json())))
    np.testing.assert_array_equal(read.scores(other), blend.scores(other))


def test_fewer_members_have_only_the_candidates_of_their_own_lists():
    said, targets = made_up_scores(users=50)
    alone = said.of_members(["second"])
    assert alone.listed.all()
    assert np.diff(alone.candidates.offsets).tolist() == [20] * 50
    kept = np.flatnonzero(said.listed[1])
    np.testing.assert_array_equal(alone.scores[0], said.scores[1][kept])
    blend, _ = fit_blend(alone, targets, forms=[PRODUCT])
    order = np.lexsort((-alone.scores[0], alone.candidates.owners))
    blended = np.lexsort((-blend.scores(alone), alone.candidates.owners))
    np.testing.assert_array_equal(order, blended)
