"""What each member adds to a blend: the blend is fitted once with all members, and once without each of them.

All figures are cross-fitted: weights for a user were found without that user. So the differences between the blends are
not those of weights that fit their own targets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.blends.choose import Choice
from gti_cli.blends.fit import Blend, MemberScores, fit_blend
from gti_cli.blends.mixing import PRODUCT
from gti_cli.blends.weight_search import CUT_OFF
from gti_cli.metrics.intervals import Difference, bounds, differences

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

METRIC = f"ndcg@{CUT_OFF}"


@dataclass(frozen=True)
class FittedBlends:
    """A blend, and the same without each of its members.

    Attributes:
        blend: The blend of all members.
        choice: How it was chosen.
        weights: Mean weight of each member over the candidates.
        interval: 95 % interval of its mean NDCG@10.
        without: The blend without each member.
        without_ndcg: Mean NDCG@10 of these.
        losses: The blend minus the blend without the member, paired.
        alone: Mean NDCG@10 of each member's own list.
    """

    blend: Blend
    choice: Choice
    weights: dict[str, float]
    interval: list[float]
    without: dict[str, Blend]
    without_ndcg: dict[str, float]
    losses: dict[str, Difference]
    alone: dict[str, float]

    def report(self) -> dict[str, Any]:
        """The figures as the manifest has them."""
        members = {
            name: {
                METRIC: self.alone[name],
                "weight": self.weights[name],
                f"{METRIC}_without": self.without_ndcg[name],
                "loss_without": asdict(self.losses[name]),
            }
            for name in self.blend.members
        }
        return {
            METRIC: float(self.choice.cross_fitted.mean()),
            f"{METRIC}_interval": self.interval,
            "choice": self.choice.report(),
            "members": members,
        }


def fit_with_and_without(
    said: MemberScores, targets: Ints, users: Sequence[str], *, seed: int, advance: Callable[[], None]
) -> FittedBlends:
    """Fit a blend of all members, and one without each of them.

    Args:
        said: What the members say of the candidates of U users.
        targets: (U,) catalogue row of each held-out target.
        users: (U,) user of each target.
        seed: Seed of the folds.
        advance: Called after each fit.
    """
    blend, choice = fit_blend(said, targets, users, seed=seed)
    advance()
    without: dict[str, Blend] = {}
    without_ndcg: dict[str, float] = {}
    losses: dict[str, Difference] = {}
    alone: dict[str, float] = {}
    for name in said.members:
        rest = [other for other in said.members if other != name]
        without[name], chosen = fit_blend(said.of_members(rest), targets, users, seed=seed)
        without_ndcg[name] = float(chosen.cross_fitted.mean())
        losses[name] = differences({METRIC: choice.cross_fitted}, {METRIC: chosen.cross_fitted}, users)[METRIC]
        # One weight of 1 keeps the member's own order.
        single = fit_blend(said.of_members([name]), targets, users, forms=(PRODUCT,), seed=seed)[1]
        alone[name] = float(single.cross_fitted.mean())
        advance()
    interval = bounds({METRIC: choice.cross_fitted}, users)[METRIC]
    weights = dict(zip(said.members, blend.mixing.mean_weights(said.contexts).tolist(), strict=True))
    return FittedBlends(blend, choice, weights, interval, without, without_ndcg, losses, alone)
