"""Evenly spread parts of a set, the same on every run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def evenly(size: int, most: int) -> npt.NDArray[np.int64]:
    """The numbers 0 to ``size - 1``, or ``most`` of them, evenly spread, where there are more; rising."""
    return np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(np.int64))
