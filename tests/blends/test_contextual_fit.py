"""The conditional logit, against finite differences and a truth that depends on the context."""

from __future__ import annotations

import numpy as np

from gti_cli.blends.candidate_table import Candidates
from gti_cli.blends.contextual_fit import _loss_and_gradient, _size, fit_contextual
from gti_cli.blends.mixing import find_contexts
from gti_cli.blends.weight_search import HeldOut


def held_out(users: int = 600, size: int = 12, seed: int = 0) -> HeldOut:
    """Users with short histories follow the first recommender, those with long ones the second."""
    rng = np.random.default_rng(seed)
    said = rng.normal(size=(2, users, size))
    is_long = np.arange(users) % 2
    truth = np.where(is_long[:, None] == 1, said[1], said[0]) * 3
    targets = (truth + rng.gumbel(size=truth.shape)).argmax(axis=1)
    candidates = Candidates(np.arange(users + 1) * size, np.tile(np.arange(size), users))
    contexts = find_contexts(np.repeat(1 + 9 * is_long, size), rng.integers(0, 200, users * size))
    places = np.where(np.arange(users) % 10 == 0, -1, candidates.offsets[:-1] + targets)
    return HeldOut(candidates, said.reshape(2, -1), contexts, places)


def test_the_gradient_is_that_of_the_loss():
    part = held_out(users=30)
    part = part.of_users(np.flatnonzero(part.places >= 0))
    values = np.random.default_rng(1).normal(size=_size(2))
    _, gradient = _loss_and_gradient(values, part, 2.0)
    for n in range(len(values)):
        ahead, behind = (
            _loss_and_gradient(values + step * np.eye(len(values))[n], part, 2.0)[0] for step in (1e-5, -1e-5)
        )
        np.testing.assert_allclose(gradient[n], (ahead - behind) / 2e-5, rtol=1e-4, atol=1e-4)


def test_weights_follow_the_context():
    mixing = fit_contextual(held_out())
    short, long = mixing.weights + mixing.history_weights[:, 0], mixing.weights + mixing.history_weights[:, 2]
    assert short[0] > 2 > 0.5 > abs(short[1])
    assert long[1] > 2 > 0.5 > abs(long[0])


def test_without_any_target_all_members_weigh_alike():
    part = held_out(users=4)
    nothing = HeldOut(part.candidates, part.log_probabilities, part.contexts, np.full(4, -1))
    assert fit_contextual(nothing).weights.tolist() == [0.5, 0.5]
