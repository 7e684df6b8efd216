"""How far the new rows can travel in a training run, compared with the distance between pretrained rows.

A step of Adam moves each coordinate of a row by about the learning rate at most, so the sum of the learning rate over
all steps bounds how far a row can travel. New rows that start in one point (as copies of the mean row do) must travel
about the distance between two pretrained rows before the model can tell them apart. If the bound is shorter than that
distance, the run cannot separate them, and a warning says so before it starts.

The default learning rate of new rows follows from the same distance (`default_rows_rate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gti_cli import console
from gti_cli.errors import InputError
from gti_cli.geometry.spectrum import effective_rank

# Without a given learning rate, a step moves a new row by this share of the distance between two pretrained rows
# (evidence: tests/benchmarks/study).
STEP_SHARE = 0.05
COLLAPSED_RANK = 2.0  # rows that are one point plus noise have an effective rank of about 1
_SAMPLE = 20_000  # rows of each kind that are measured: two averages and a rank need no more


@dataclass(frozen=True)
class Reach:
    """How far the new rows can travel in a run, and how far rows are from each other.

    Attributes:
        travel: The most that Adam can move a coordinate: the sum of the learning rate over the steps.
        spread: Root mean square difference between two pretrained rows, per coordinate.
        new_spread: The same among the new rows, before training.
        rank: Effective rank of the new rows, before training.
    """

    travel: float
    spread: float
    new_spread: float
    rank: float

    @property
    def ratio(self) -> float:
        """Travel divided by spread; below 1 the new rows cannot become as different as pretrained rows."""
        return self.travel / self.spread if self.spread else float("inf")

    @property
    def stuck(self) -> bool:
        """Whether the new rows are collapsed and cannot separate in this run."""
        return self.rank < COLLAPSED_RANK and self.ratio < 1

    def metrics(self) -> dict[str, float]:
        """The figures by their names in the manifest."""
        return {
            "rows_travel": self.travel,
            "pretrained_rows_spread": self.spread,
            "new_rows_spread": self.new_spread,
            "rows_travel_ratio": self.ratio,
            "new_rows_effective_rank": self.rank,
        }

    def print_summary(self, steps: int) -> None:
        """Print the figures; warn, with remedies, where collapsed rows will stay collapsed.

        Args:
            steps: Number of steps of the run.
        """
        console.note(
            f"new rows: {steps:,} steps can move a coordinate by {self.travel:.3g} at most; two pretrained rows differ "
            f"by {self.spread:.3g} (ratio {self.ratio:.2f}), two new rows by {self.new_spread:.3g} (effective rank "
            f"{self.rank:.1f})"
        )
        if self.stuck:
            console.warn(
                f"the new rows are collapsed (effective rank {self.rank:.1f}) and cannot separate in this run: they "
                f"can travel {self.ratio:.2f} of the distance between pretrained rows. Ground them first (gti ground), "
                "start them from text (gti extend without --init), raise their learning rate (--rows-learning-rate), "
                "or train longer"
            )


def rms_difference(rows: npt.NDArray[Any]) -> float:
    """Root mean square difference between two different rows, per coordinate.

    Over all pairs the mean square difference is twice the variance (with n - 1 in its denominator).

    Args:
        rows: (n, d).

    Returns:
        The difference; 0 for a single row.
    """
    return float(np.sqrt(2 * np.mean(np.var(rows.astype(np.float64), axis=0, ddof=1)))) if len(rows) > 1 else 0.0


def pretrained_spread(weight: torch.Tensor, new_ids: npt.NDArray[np.int64], height: int) -> float:
    """Root mean square difference between two pretrained rows, per coordinate.

    Args:
        weight: (V, d), the matrix.
        new_ids: Numbers of the new rows.
        height: Number of rows up to the tokenizer's last token; the rows after them are padding.
    """
    pretrained = torch.from_numpy(_pretrained_ids(weight, new_ids, height))
    return rms_difference(weight.detach()[pretrained.to(weight.device)].float().cpu().numpy())


def default_rows_rate(weight: torch.Tensor, new_ids: npt.NDArray[np.int64], height: int, option: str) -> float:
    """The default learning rate of new rows, which fits the scale of an embedding matrix.

    It is `STEP_SHARE` of the distance between two pretrained rows, since a step of Adam moves a coordinate by about
    the learning rate.

    Args:
        weight: (V, d), the matrix.
        new_ids: Numbers of the new rows.
        height: Number of rows up to the tokenizer's last token; the rows after them are padding.
        option: Option by which the user can give a rate, for the error message.

    Raises:
        InputError: When the pretrained rows are all equal, or hold NaN or infinity.
    """
    rate = STEP_SHARE * pretrained_spread(weight, new_ids, height)
    if not 0 < rate < float("inf"):
        raise InputError(
            "no learning rate can be derived from the model's embedding matrix: its pretrained rows "
            + ("are all equal" if rate == 0 else "hold NaN or infinity"),
            remedy=f"give {option}, or another model",
        )
    return rate


def measure_reach(weight: npt.NDArray[Any], new_ids: npt.NDArray[np.int64], travel: float, height: int) -> Reach:
    """Compare the distance that rows can travel with the rows of an embedding matrix.

    Args:
        weight: (V, d), the matrix.
        new_ids: Numbers of the new rows.
        travel: The most that a coordinate can move in the run.
        height: Number of rows up to the tokenizer's last token; the rows after them are padding.
    """
    new_rows = weight[_thinned(new_ids)].astype(np.float64)
    pretrained_rows = weight[_pretrained_ids(weight, new_ids, height)]
    return Reach(travel, rms_difference(pretrained_rows), rms_difference(new_rows), effective_rank(new_rows))


def _pretrained_ids(weight: Any, new_ids: npt.NDArray[np.int64], height: int) -> npt.NDArray[np.int64]:
    """Numbers of the pretrained rows, thinned."""
    return _thinned(np.setdiff1d(np.arange(min(len(weight), height)), new_ids))


def _thinned(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Every k-th of the ids, so that at most `_SAMPLE` are left."""
    return ids[:: -(-len(ids) // _SAMPLE)] if len(ids) else ids
