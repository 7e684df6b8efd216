"""Finds the weights of a mixture or of a product: NDCG@10 of held-out targets decides.

The weights are multiples of a step and add up to 1. The search begins at each single recommender and at equal weights,
takes the best of them, and moves one step from one recommender to another as long as that is better. Then it repeats
this with a smaller step. NDCG has no gradient, and there are few weights: so this is cheap and good enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gti_cli.blends.candidate_table import Candidates, rank_targets
from gti_cli.blends.mixing import Contexts, Mixing
from gti_cli.metrics.ranking import ndcg_at

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CUT_OFF = 10
STEPS = (0.2, 0.1, 0.05)
MOST_TRIED = 400  # Settings that are tried for one form; a search that reaches it says so.


@dataclass(frozen=True)
class HeldOut:
    """Candidates with the log-probabilities of M recommenders, and held-out targets.

    Attributes:
        candidates: The candidates of U users.
        log_probabilities: (M, n) from `calibration.log_probabilities`.
        contexts: The contexts of the n candidates.
        places: (U,) entry of each target; -1 where it is no candidate.
    """

    candidates: Candidates
    log_probabilities: Floats
    contexts: Contexts
    places: Ints

    def ndcg(self, mixing: Mixing) -> Floats:
        """(U,) NDCG@10 of each target. A target that is no candidate counts as 0."""
        scores = mixing.scores(self.log_probabilities, self.contexts)
        return ndcg_at(rank_targets(scores, self.candidates, self.places), CUT_OFF)

    def of_users(self, users: Ints) -> HeldOut:
        """The held-out targets of some users, by ascending number."""
        candidates, entries = self.candidates.of_users(users)
        first, chosen = self.candidates.offsets[users], self.places[users]
        places = np.where(chosen >= 0, chosen - first + candidates.offsets[:-1], -1)
        return HeldOut(candidates, self.log_probabilities[:, entries], self.contexts.of_entries(entries), places)

    def of_members(self, members: Sequence[int]) -> HeldOut:
        """The same candidates with the log-probabilities of some recommenders."""
        return HeldOut(self.candidates, self.log_probabilities[list(members)], self.contexts, self.places)


@dataclass(frozen=True)
class WeightSearch:
    """The outcome of a search.

    Attributes:
        mixing: The best setting.
        ndcg: Its mean NDCG@10.
        tried: Number of settings that were tried.
        complete: Whether the search ended by itself, not at `MOST_TRIED`.
    """

    mixing: Mixing
    ndcg: float
    tried: int
    complete: bool


def search_weights(held_out: HeldOut, form: str, *, most_tried: int = MOST_TRIED) -> WeightSearch:
    """Find the weights of a mixture or of a product.

    Args:
        held_out: Candidates and targets.
        form: `mixing.MIXTURE` or `mixing.PRODUCT`.
        most_tried: Most settings to try.
    """
    members = len(held_out.log_probabilities)
    measured: dict[tuple[float, ...], float] = {}

    def measure(weights: tuple[float, ...]) -> float:
        """Mean NDCG with these weights; each tuple is measured once."""
        if weights not in measured:
            measured[weights] = float(held_out.ndcg(Mixing.plain(form, np.asarray(weights))).mean())
        return measured[weights]

    single = [tuple(float(member == other) for other in range(members)) for member in range(members)]
    best = max([(1 / members,) * members, *single], key=measure)
    for step in STEPS:
        best = _climb(best, step, measure, lambda: len(measured) < most_tried)
    mixing = Mixing.plain(form, np.asarray(best))
    return WeightSearch(mixing, measured[best], len(measured), len(measured) < most_tried)


def _climb(
    best: tuple[float, ...],
    step: float,
    measure: Callable[[tuple[float, ...]], float],
    may_go_on: Callable[[], bool],
) -> tuple[float, ...]:
    """Move ``step`` of weight from one recommender to another, the best move each time, until no move is better."""
    while may_go_on():
        moves = [
            _moved(best, giver, taker, step)
            for giver in range(len(best))
            for taker in range(len(best))
            if giver != taker and best[giver] > 0
        ]
        chosen = max([best, *moves], key=measure)  # `max` returns the first of equals: the present weights stay.
        if chosen == best:
            break
        best = chosen
    return best


def _moved(weights: tuple[float, ...], giver: int, taker: int, step: float) -> tuple[float, ...]:
    amount = min(step, weights[giver])
    changed = list(weights)
    # Rounded, so that the same weights by another way are the same setting.
    changed[giver] = round(weights[giver] - amount, 9)
    changed[taker] = round(weights[taker] + amount, 9)
    return tuple(changed)
