"""Can the new rows get where they must go? What the learning rate allows, beside how far apart rows lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gti_cli import console
from gti_cli.errors import InputError
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


def natural_rate(weight: torch.Tensor, new_ids: npt.NDArray[np.int64], height: int, option: str) -> float:
    """A learning rate for new rows that fits the scale of an embedding matrix (V, d): `STEP_SHARE` of the `spread` of
    its pretrained rows, since a step of Adam moves a coordinate by about the rate.

    Args:
        weight: the matrix. new_ids: rows that are new. height: rows up to the tokenizer's last token; those behind are
            padding. option: by which the caller can give a rate, for the error line.

    Raises:
        InputError: the pretrained rows are all equal, or hold NaN or infinity.
    """
    old = torch.from_numpy(_old(weight, new_ids, height))
    rate = STEP_SHARE * spread(weight.detach()[old.to(weight.device)].float().cpu().numpy())
    if not 0 < rate < float("inf"):
        raise InputError(
            "no learning rate can be taken from the model's embedding matrix: its pretrained rows "
            + ("are all equal" if rate == 0 else "hold NaN or infinity"),
            remedy=f"give {option}, or another model",
        )
    return rate


def reach(weight: npt.NDArray[Any], new_ids: npt.NDArray[np.int64], travel: float, height: int) -> Reach:
    """Compare ``travel`` with the rows of an embedding matrix (V, d), of which ``new_ids`` are new.

    ``height``: rows up to the tokenizer's last token; those behind are padding. Both sets are thinned evenly to at most
    20,000 rows: these are two averages and a rank.
    """
    old, new = _old(weight, new_ids, height), _thin(new_ids)
    new_rows = weight[new].astype(np.float64)
    return Reach(travel, spread(weight[old]), spread(new_rows), effective_rank(new_rows))


def _old(weight: Any, new_ids: npt.NDArray[np.int64], height: int) -> npt.NDArray[np.int64]:
    """Pretrained rows, thinned."""
    return _thin(np.setdiff1d(np.arange(min(len(weight), height)), new_ids))


def _thin(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return ids[:: -(-len(ids) // _SAMPLE)] if len(ids) else ids
