"""Parts of a set that stand for the whole, the same on every run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def evenly(size: int, most: int) -> npt.NDArray[np.int64]:
    """At most ``most`` of the numbers 0 … size - 1, evenly spread, rising; all of them where there are no more."""
    return np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(np.int64))
