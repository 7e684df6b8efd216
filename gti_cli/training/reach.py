"""Can the new rows get where they must go? What the learning rate allows, beside how far apart rows lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gti_cli import console
from gti_cli.geometry.spectrum import effective_rank

# Of the distance between pretrained rows: what a step may move a new row by, where no rate is given (evidence:
# tests/benchmarks/study).
STEP_SHARE = 0.05
COLLAPSED_RANK = 2.0  # rows that are one point plus noise have a raw effective rank of about 1
_SAMPLE = 20_000


@dataclass(frozen=True)
class Reach:
    """How far the new rows can travel in a run.

    Attributes:
        travel: most that Adam can move a coordinate: the sum of the learning rate over the steps (its steps are about
            the rate at most).
        spread: root mean square difference between two pretrained rows, per coordinate.
        new_spread: the same among the new rows, before training.
        rank: effective rank of the new rows, before training.
    """

    travel: float
    spread: float
    new_spread: float
    rank: float

    @property
    def ratio(self) -> float:
        """Travel over spread; below 1 the rows cannot come to lie as far apart as pretrained ones."""
        return self.travel / self.spread if self.spread else float("inf")

    @property
    def stuck(self) -> bool:
        """Collapsed rows that cannot get apart in this run."""
        return self.rank < COLLAPSED_RANK and self.ratio < 1

    def metrics(self) -> dict[str, float]:
        """For the manifest."""
        return {
            "rows_travel": self.travel,
            "pretrained_rows_spread": self.spread,
            "new_rows_spread": self.new_spread,
            "rows_travel_ratio": self.ratio,
            "new_rows_effective_rank": self.rank,
        }

    def say(self, steps: int) -> None:
        """Print the ratio; warn, with the remedies, when the rows are collapsed and will stay so."""
        console.note(
            f"new rows: in {steps:,} steps the learning rate lets a coordinate travel {self.travel:.3g} at most; "
            f"pretrained rows differ by {self.spread:.3g} (ratio {self.ratio:.2f}), these by {self.new_spread:.3g} "
            f"(effective rank {self.rank:.1f})"
        )
        if self.stuck:
            console.warn(
                f"the new rows are collapsed (effective rank {self.rank:.1f}) and cannot get apart in this run: they "
                f"can travel {self.ratio:.2f} of the distance between pretrained rows. Ground them first (gti ground), "
                "start them from text (gti extend without --init), give them a higher rate (--rows-learning-rate), "
                "or train longer"
            )


def spread(rows: npt.NDArray[Any]) -> float:
    """Root mean square difference per coordinate between two different rows of (n, d); 0 for a single row.

    Over all pairs the mean square difference is twice the variance (n - 1 in its denominator).
    """
    return float(np.sqrt(2 * np.mean(np.var(rows.astype(np.float64), axis=0, ddof=1)))) if len(rows) > 1 else 0.0


def natural_rate(weight: torch.Tensor, new_ids: npt.NDArray[np.int64]) -> float:
    """A learning rate for new rows that fits the scale of an embedding matrix (V, d): `STEP_SHARE` of the `spread` of
    its pretrained rows, since a step of Adam moves a coordinate by about the rate."""
    old = torch.from_numpy(_thin(np.setdiff1d(np.arange(len(weight)), new_ids)))
    return STEP_SHARE * spread(weight.detach()[old.to(weight.device)].float().cpu().numpy())


def reach(weight: npt.NDArray[Any], new_ids: npt.NDArray[np.int64], travel: float) -> Reach:
    """Compare ``travel`` with the rows of an embedding matrix (V, d), of which ``new_ids`` are new.

    Both sets are thinned evenly to at most 20,000 rows: these are two averages and a rank.
    """
    old = np.setdiff1d(np.arange(len(weight)), new_ids)
    old, new = _thin(old), _thin(new_ids)
    new_rows = weight[new].astype(np.float64)
    return Reach(travel, spread(weight[old]), spread(new_rows), effective_rank(new_rows))


def _thin(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return ids[:: -(-len(ids) // _SAMPLE)] if len(ids) else ids
