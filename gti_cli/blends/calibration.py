"""Makes the scores of different recommenders comparable: each becomes a probability over the user's candidates.

A language model scores by log-probabilities, a network by logits, a count by any positive number. Softmax turns each
of them into a distribution over the candidates, with a temperature for its scale and a share of the uniform
distribution, so that a candidate that the recommender does not know keeps some probability. Both numbers are those
under which held-out targets are most likely (temperature scaling: Guo et al., ICML 2017, arXiv 1706.04599).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gti_cli.blends.candidate_table import Candidates, max_by_user, sum_by_user

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

UNIFORM_SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
WIDEST = 30.0  # The temperature lies within this factor of the standard deviation of the scores.
GRID_POINTS = 15


@dataclass(frozen=True)
class Calibration:
    """How the scores of one recommender become probabilities.

    Attributes:
        temperature: Scores are divided by it.
        uniform_share: Share of the uniform distribution over the candidates, in (0, 1).
    """

    temperature: float
    uniform_share: float


def log_probabilities(scores: Floats, candidates: Candidates, calibration: Calibration) -> Floats:
    """Compute the log-probability of each candidate.

    Args:
        scores: (n,) scores of one recommender; -inf for a candidate that it does not recommend.
        candidates: The candidates of the users.
        calibration: Temperature and uniform share.

    Returns:
        (n,) natural logarithms; each user's probabilities add up to 1. All finite.
    """
    return _mix_with_uniform(_softmax(scores, candidates, calibration.temperature), candidates, calibration)


def _softmax(scores: Floats, candidates: Candidates, temperature: float) -> Floats:
    """(n,) softmax of each user's scores; uniform where a user has no finite score."""
    owners = candidates.owners
    largest = max_by_user(scores, candidates.offsets)[owners]
    is_known = np.isfinite(largest)
    exponents = np.where(is_known, scores - np.where(is_known, largest, 0.0), 0.0) / temperature
    weights = np.exp(exponents)
    return weights / sum_by_user(weights, candidates.offsets)[owners]


def _mix_with_uniform(probabilities: Floats, candidates: Candidates, calibration: Calibration) -> Floats:
    sizes = np.diff(candidates.offsets)[candidates.owners]
    share = calibration.uniform_share
    return np.log((1 - share) * probabilities + share / sizes)


def calibrate(scores: Floats, candidates: Candidates, places: Ints) -> Calibration:
    """Find the temperature and the uniform share under which the targets are most likely.

    Args:
        scores: (n,) scores of one recommender; -inf for a candidate that it does not recommend.
        candidates: The candidates of U users.
        places: (U,) entry of each user's target among the candidates, -1 where it is none. Such users do not count.
    """
    finite = scores[np.isfinite(scores)]
    spread = float(finite.std()) if len(finite) else 0.0
    users = np.flatnonzero(places >= 0)
    if spread == 0 or not len(users):
        return Calibration(1.0, UNIFORM_SHARES[0])
    part, entries = candidates.of_users(users)
    own, targets = scores[entries], part.places_of(candidates.rows[places[users]])
    uniform = 1 / np.diff(part.offsets)
    shares = np.asarray(UNIFORM_SHARES)[:, None]
    best = (np.inf, 1.0, UNIFORM_SHARES[0])
    # A coarse grid over the logarithm of the temperature, then a fine one around its best value.
    centre, width = np.log(spread), np.log(WIDEST)
    for _ in range(2):
        for temperature in np.exp(np.linspace(centre - width, centre + width, GRID_POINTS)):
            likelihood = _softmax(own, part, float(temperature))[targets]
            losses = -np.log((1 - shares) * likelihood + shares * uniform).mean(axis=1)
            lowest = int(losses.argmin())
            best = min(best, (float(losses[lowest]), float(temperature), UNIFORM_SHARES[lowest]))
        centre, width = np.log(best[1]), 2 * width / (GRID_POINTS - 1)
    return Calibration(best[1], best[2])
