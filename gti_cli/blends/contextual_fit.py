"""Fits the weights of a contextual product: a conditional logit over each user's candidates.

The model is P(target = i | user) = exp(s_i) / sum_j exp(s_j), where s is the score of `Mixing` in its contextual form:
linear in the weights, so the negative log-likelihood is convex (McFadden, 1974). L-BFGS solves it to the end. A ridge
draws the additions of each bin towards 0, so that a bin with few targets keeps the common weights.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gti_cli.blends.candidate_table import max_by_user, sum_by_user
from gti_cli.blends.mixing import CONTEXTUAL, HISTORY_ENDS, ITEM_ENDS, Mixing
from gti_cli.blends.weight_search import HeldOut

Floats = npt.NDArray[np.float64]

RIDGE = 3.0  # In units of one target's log-likelihood.
MOST_STEPS = 200
SCALES = (0.01, 30.0)  # Between these lies the scale of a product's weights, which add up to 1.
_HISTORY_BINS, _ITEM_BINS = len(HISTORY_ENDS) + 1, len(ITEM_ENDS) + 1


def fit_contextual(held_out: HeldOut, *, ridge: float = RIDGE) -> Mixing:
    """Find the weights under which the targets are most likely.

    Args:
        held_out: Candidates and targets of U users. Users whose target is no candidate do not count.
        ridge: Penalty on the squares of the additions by bin.
    """
    from scipy.optimize import minimize

    members = len(held_out.log_probabilities)
    part = held_out.of_users(np.flatnonzero(held_out.places >= 0))
    start = np.concatenate([np.full(members, 1 / members), np.zeros(_size(members) - members)])
    if not len(part.places):
        return _unpack(start, members)
    outcome = minimize(
        lambda values: _loss_and_gradient(values, part, ridge),
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MOST_STEPS},
    )
    return _unpack(outcome.x, members)


def average_with_product(contextual: Mixing, product: Mixing, held_out: HeldOut) -> Mixing:
    """The mean of the scores of a contextual product and of a product, which is a contextual product again.

    The scale of a product's weights is arbitrary. For the mean it is the one under which the targets are most likely,
    as it is for a contextual product.

    Args:
        contextual: From `fit_contextual`.
        product: A product of the same members.
        held_out: Candidates and targets of U users. Users whose target is no candidate do not count.
    """
    from scipy.optimize import minimize_scalar

    part = held_out.of_users(np.flatnonzero(held_out.places >= 0))
    scale = 1.0
    if len(part.places):
        scores = product.scores(part.log_probabilities, part.contexts)
        # Convex in the scale.
        scale = float(
            minimize_scalar(
                lambda factor: _negative_log_likelihood(factor * scores, part), bounds=SCALES, method="bounded"
            ).x
        )
    return Mixing(
        CONTEXTUAL,
        (contextual.weights + scale * product.weights) / 2,
        contextual.history_weights / 2,
        contextual.item_weights / 2,
        contextual.item_bias / 2,
    )


def _negative_log_likelihood(scores: Floats, part: HeldOut) -> float:
    """The negative log-likelihood of all targets, which are candidates, under a softmax of scores."""
    candidates = part.candidates
    shifted = scores - max_by_user(scores, candidates.offsets)[candidates.owners]
    totals = sum_by_user(np.exp(shifted), candidates.offsets)
    return float((np.log(totals) - shifted[part.places]).sum())


def _size(members: int) -> int:
    return members * (1 + _HISTORY_BINS + _ITEM_BINS) + _ITEM_BINS


def _unpack(values: Floats, members: int) -> Mixing:
    """The weights that a flat vector holds."""
    ends = np.cumsum([members, members * _HISTORY_BINS, members * _ITEM_BINS])
    weights, history, item, bias = np.split(values, ends)
    return Mixing(CONTEXTUAL, weights, history.reshape(members, -1), item.reshape(members, -1), bias)


def _loss_and_gradient(values: Floats, part: HeldOut, ridge: float) -> tuple[float, Floats]:
    """The penalised negative log-likelihood of all targets, and its gradient."""
    candidates, contexts, members = part.candidates, part.contexts, len(part.log_probabilities)
    scores = _unpack(values, members).scores(part.log_probabilities, contexts)
    shifted = scores - max_by_user(scores, candidates.offsets)[candidates.owners]
    exponentials = np.exp(shifted)
    totals = sum_by_user(exponentials, candidates.offsets)
    residuals = exponentials / totals[candidates.owners]
    residuals[part.places] -= 1
    additions = values[members:]
    loss = float((np.log(totals) - shifted[part.places]).sum() + ridge * (additions @ additions))
    weights, history, item = np.zeros(members), [], []
    for member, log_probabilities in enumerate(part.log_probabilities):
        products = residuals * log_probabilities
        weights[member] = products.sum()
        history.append(np.bincount(contexts.history, products, minlength=_HISTORY_BINS))
        item.append(np.bincount(contexts.item, products, minlength=_ITEM_BINS))
    bias = np.bincount(contexts.item, residuals, minlength=_ITEM_BINS)
    gradient = np.concatenate([weights, *history, *item, bias])
    gradient[members:] += 2 * ridge * additions
    return loss, gradient
