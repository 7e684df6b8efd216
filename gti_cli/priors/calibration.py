"""How sharp a prior is: a temperature, and the shares of a mixture, under which held-out targets are most likely.

What the model sees is the prior mixed with a share of the uniform distribution (`gti_cli.decoding.prior_bias`). So that
mixture is what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli.baselines.base import target_ranks
from gti_cli.decoding.prior_bias import UNIFORM_SHARE
from gti_cli.metrics.ranking import join_ranks, ndcg_at
from gti_cli.priors.sasrec_prior import probabilities

Floats = npt.NDArray[np.float64]

CUT_OFF = 10
TEMPERATURES = tuple(float(value) for value in np.round(1.1 ** np.arange(-10, 11), 4))  # .39 to 2.59
COSINE_TEMPERATURES = tuple(float(value) for value in np.round(1.25 ** np.arange(-18, 1), 4))  # .018 to 1
SHARES = tuple(float(value) for value in np.round(np.arange(0.05, 1, 0.05), 2))  # of the first of two members
_TARGETS_AT_ONCE = 256
_MOST_CELLS = 1 << 26  # Most scores that a temperature is measured on.


class Scored(Protocol):
    """A prior whose masses are a softmax of scores."""

    @property
    def items(self) -> int:
        """Number of items of the catalogue."""
        ...

    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) scores behind U histories of catalogue rows; -inf for an item that is not recommended."""
        ...


@dataclass(frozen=True)
class Calibration:
    """The best temperature of a prior.

    Attributes:
        temperature: The temperature.
        log_likelihood: Mean of the targets' log-likelihood with it, in nats.
        untempered: The same with temperature 1.
        ndcg: Mean NDCG@10 of the prior, seen items kept.
        targets: Number of targets it was measured on.
    """

    temperature: float
    log_likelihood: float
    untempered: float
    ndcg: float
    targets: int


def log_likelihoods(probability: Floats, items: int) -> Floats:
    """Logarithm of targets' probabilities after they were mixed with the uniform distribution over all items."""
    mixed: Floats = np.log(UNIFORM_SHARE / items + (1 - UNIFORM_SHARE) * probability)
    return mixed


def calibrate(
    prior: Scored,
    histories: Sequence[Sequence[int]],
    targets: Sequence[int],
    temperatures: Sequence[float] = TEMPERATURES,
) -> Calibration:
    """Find the temperature of a prior under which held-out targets are most likely.

    Args:
        prior: The prior; its own temperature is not used.
        histories: Catalogue rows of each history.
        targets: Catalogue row of each target, at least one.
        temperatures: Those to choose from; 1 is among them.
    """
    items = prior.items
    step = max(1, -(-len(targets) * items // _MOST_CELLS))  # every how manyth target is measured
    histories, targets = histories[::step], targets[::step]
    sums, ranks = np.zeros(len(temperatures)), []
    at_once = max(1, min(_TARGETS_AT_ONCE, _MOST_CELLS // 16 // items))
    for start in range(0, len(targets), at_once):
        part, of_part = histories[start : start + at_once], np.asarray(targets[start : start + at_once])
        scores = prior.scores(part)
        rows = np.arange(len(of_part))
        for number, temperature in enumerate(temperatures):
            sums[number] += log_likelihoods(probabilities(scores, temperature)[rows, of_part], items).sum()
        ranks.append(target_ranks(scores, part, of_part.tolist(), filter_seen=False))
    means = sums / len(targets)
    best = int(means.argmax())
    return Calibration(
        temperatures[best],
        float(means[best]),
        float(means[temperatures.index(1.0)]),
        float(ndcg_at(join_ranks(ranks), CUT_OFF).mean()),
        len(targets),
    )


@dataclass(frozen=True)
class TargetProbabilities:
    """What one member of a mixture gives to targets.

    Attributes:
        probability: (n,) probability of each target.
        knows: (n,) whether the member gives mass to any item behind the target's history.
    """

    probability: Floats
    knows: npt.NDArray[np.bool_]

    @classmethod
    def measure(cls, masses: Callable[[int, int], sparse.csr_matrix], targets: Sequence[int]) -> TargetProbabilities:
        """Measure a member, some targets at a time.

        Args:
            masses: Returns the masses behind the histories of the targets from one number to before another.
            targets: Catalogue row of each target.
        """
        probability, knows = [np.zeros(0)], [np.zeros(0, dtype=bool)]
        for start in range(0, len(targets), _TARGETS_AT_ONCE):
            of_part = np.asarray(targets[start : start + _TARGETS_AT_ONCE])
            part = masses(start, start + len(of_part))
            total = np.asarray(part.sum(axis=1), dtype=np.float64).ravel()
            own = np.asarray(part[np.arange(len(of_part)), of_part], dtype=np.float64).ravel()
            probability.append(own / np.where(total > 0, total, 1.0))
            knows.append(total > 0)
        return cls(np.concatenate(probability), np.concatenate(knows))


def choose_shares(first: TargetProbabilities, second: TargetProbabilities, items: int) -> tuple[float, float]:
    """Find the share of the first of two members under which targets are most likely.

    Args:
        first: What the first member gives to the targets.
        second: The same of the second one.
        items: Number of items of the catalogue.

    Returns:
        The share, and the targets' mean log-likelihood with it.
    """

    def mean(share: float) -> float:
        """Mean log-likelihood of the targets where the first member has this share."""
        weights = np.stack([share * first.knows, (1 - share) * second.knows])
        total = weights.sum(axis=0)
        both = (weights * np.stack([first.probability, second.probability])).sum(axis=0)
        return float(log_likelihoods(both / np.where(total > 0, total, 1.0), items).mean())

    means = [mean(share) for share in SHARES]
    best = int(np.argmax(means))
    return SHARES[best], means[best]
