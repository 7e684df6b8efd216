"""Parts of a set, the same on every run: evenly spread, or drawn by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")


def evenly(size: int, most: int) -> npt.NDArray[np.int64]:
    """The numbers 0 to ``size - 1``, or ``most`` of them, evenly spread, where there are more; rising."""
    return np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(np.int64))


def draw_at_most(values: Sequence[T], most: int, seed: int) -> list[T]:
    """Draw at most ``most`` of the values without replacement; they stay in their order.

    Args:
        values: What to draw from.
        most: Largest number of values to return.
        seed: Seed of the draw.
    """
    if len(values) <= most:
        return list(values)
    drawn = np.random.default_rng(seed).choice(len(values), most, replace=False)
    return [values[n] for n in sorted(drawn.tolist())]
