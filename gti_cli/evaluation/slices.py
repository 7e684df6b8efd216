"""The same metrics for parts of the users: by how well known the target is, and by how long the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from gti_cli.histories.splits import History

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Upper ends, inclusive; the last bin is open. A target with no training interaction is a cold start.
TARGET_SEEN = (0, 4, 19, 99)
HISTORY_LENGTH = (2, 5, 10, 20)


def masks(entries: Sequence[History], train: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Mask]]:
    """Which targets belong to which slice: slice -> bin -> (U,) mask; bins without a target are left out.

    Slices: ``target_training_interactions`` (``0`` is cold start) and ``history_length`` (all items before the target).

    Args:
        entries: the U targets. train: user -> items, the training part.
    """
    counts: dict[str, int] = {}
    for items in train.values():
        for item in items:
            counts[item] = counts.get(item, 0) + 1
    seen = np.asarray([counts.get(entry.target, 0) for entry in entries])
    lengths = np.asarray([len(entry.items) for entry in entries])
    return {
        "target_training_interactions": _bins(seen, 0, TARGET_SEEN),
        "history_length": _bins(lengths, 1, HISTORY_LENGTH),
    }


def _bins(values: npt.NDArray[np.int64], lowest: int, ends: Sequence[int]) -> dict[str, Mask]:
    starts = [lowest, *(end + 1 for end in ends)]
    found = {}
    for start, end in zip(starts, [*ends, None], strict=True):
        inside = (values >= start) & (values <= end) if end is not None else values >= start
        if inside.any():
            found[f"{start}+" if end is None else str(start) if end == start else f"{start}-{end}"] = inside
    return found


def sliced(
    values: Mapping[str, Floats], parts: Mapping[str, Mapping[str, Mask]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Mean of each metric in each bin, and ``targets``, how many there are: slice -> bin -> metric -> number."""
    return {
        name: {
            label: {"targets": int(inside.sum()), **{metric: float(v[inside].mean()) for metric, v in values.items()}}
            for label, inside in bins.items()
        }
        for name, bins in parts.items()
    }
