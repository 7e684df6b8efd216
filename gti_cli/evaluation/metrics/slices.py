"""The same metrics for parts of the users or queries: by how well known the target is, by how much is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from gti_cli.tables.histories import History
from gti_cli.tables.queries import Query

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Upper ends, inclusive; the last bin is open. A target with no training interaction is a cold start.
TARGET_SEEN = (0, 4, 19, 99)
HISTORY_LENGTH = (2, 5, 10, 20)
GOOD_ITEMS = (1, 3, 10)
QUERY_WORDS = (1, 2, 4)


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


def query_masks(asked: Sequence[Query], train: Sequence[Query]) -> dict[str, dict[str, Mask]]:
    """Which queries belong to which slice, as `masks`.

    Slices: ``good_items`` (of the query), ``query_words``, and ``good_items_good_in_training``: how many of the query's
    good items are good for a training query too (``0``: none of the answers was ever trained on as one).
    """
    known = {item for query in train for item in query.items()}
    return {
        "good_items": _bins(np.asarray([len(query.items()) for query in asked]), 1, GOOD_ITEMS),
        "query_words": _bins(np.asarray([len(query.text.split()) for query in asked]), 1, QUERY_WORDS),
        "good_items_good_in_training": _bins(
            np.asarray([sum(item in known for item in query.items()) for query in asked]), 0, (0, *GOOD_ITEMS)
        ),
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
    values: Mapping[str, Floats], parts: Mapping[str, Mapping[str, Mask]], unit: str = "targets"
) -> dict[str, dict[str, dict[str, float]]]:
    """Mean of each metric in each bin, and ``unit``, how many there are: slice -> bin -> metric -> number."""
    return {
        name: {
            label: {unit: int(inside.sum()), **{metric: float(v[inside].mean()) for metric, v in values.items()}}
            for label, inside in bins.items()
        }
        for name, bins in parts.items()
    }
