"""The conditional logit, against finite differences and a truth that depends on the context."""

from __future__ import annotations

import numpy as np

from gti_cli.blends.candidate_table import Candidates
from gti_cli.blends.contextual_fit import (
    _loss_and_gradient,
    _negative_log_likelihood,
    _size,
    average_with_product,
    fit_contextual,
)
from gti_cli.blends.mixing import PRODUCT, Mixing, find_contexts
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


def test_the_average_orders_candidates_as_the_sum_of_both_scores_does():
    part = held_out()
    contextual, product = fit_contextual(part), Mixing.plain(PRODUCT, np.array([0.4, 0.6]))
    average = average_with_product(contextual, product, part)
    known = part.of_users(np.flatnonzero(part.places >= 0))
    scores = product.scores(known.log_probabilities, known.contexts)
    # The scale against a fine grid.
    grid = np.linspace(0.5, 10, 1901)
    scale = grid[np.argmin([_negative_log_likelihood(factor * scores, known) for factor in grid])]
    assert 1 < scale < 9  # inside the grid
    both = contextual.scores(part.log_probabilities, part.contexts) + scale * product.scores(
        part.log_probabilities, part.contexts
    )
    np.testing.assert_allclose(average.scores(part.log_probabilities, part.contexts), both / 2, atol=0.02)


def test_the_likelihood_is_that_of_a_softmax_for_each_user():
    part = held_out(users=20)
    part = part.of_users(np.flatnonzero(part.places >= 0))
    scores = np.random.default_rng(4).normal(size=len(part.candidates.rows)) * 30
    expected = 0.0
    for user, place in enumerate(part.places):
        own = scores[part.candidates.offsets[user] : part.candidates.offsets[user + 1]]
        expected -= scores[place] - np.log(np.exp(own - own.max()).sum()) - own.max()
    np.testing.assert_allclose(_negative_log_likelihood(scores, part), expected)
    nothing = HeldOut(part.candidates, part.log_probabilities, part.contexts, np.full(len(part.places), -1))
    equal = average_with_product(fit_contextual(nothing), Mixing.plain(PRODUCT, np.array([0.25, 0.75])), nothing)
    assert equal.weights.tolist() == [0.375, 0.625]
