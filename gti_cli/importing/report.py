"""What an import came to: how much was read, what was left out and why, and the shape of what is written."""

from __future__ import annotations

from typing import Any

import numpy as np

from gti_cli.importing.gather import ImportedInteractions


def describe_interactions(interactions: ImportedInteractions) -> dict[str, Any]:
    """Figures of a set of interactions.

    Args:
        interactions: Any number of them, also none.

    Returns:
        ``users``, ``items``, ``interactions``; ``density``, the share of all pairs of user and item that interact;
        ``history_min``, ``history_median``, ``history_mean``, ``history_max``, interactions of a user;
        ``repeated_pairs``, interactions of a user with an item that the user had before; ``repeated_rows``, those
        among them at the same time; ``equal_times``, interactions at the same time as another one of the same user.
    """
    count = len(interactions)
    if not count:
        return {"users": 0, "items": 0, "interactions": 0}
    lengths = np.bincount(interactions.user)
    lengths = lengths[lengths > 0]
    users, items = len(lengths), len(np.unique(interactions.item))
    pairs = _distinct(interactions.user, interactions.item)
    return {
        "users": users,
        "items": items,
        "interactions": count,
        "density": pairs / (users * items),
        "history_min": int(lengths.min()),
        "history_median": float(np.median(lengths)),
        "history_mean": float(lengths.mean()),
        "history_max": int(lengths.max()),
        "repeated_pairs": count - pairs,
        "repeated_rows": count - _distinct(interactions.user, interactions.item, interactions.time),
        "equal_times": _sharing(interactions.user, interactions.time),
    }


def _distinct(*columns: Any) -> int:
    """Number of different rows."""
    return len(columns[0]) - int(_equal_to_the_next(*columns).sum())


def _sharing(*columns: Any) -> int:
    """Number of rows that are equal to another row."""
    same = _equal_to_the_next(*columns)
    shares = np.zeros(len(columns[0]), bool)
    shares[1:] |= same
    shares[:-1] |= same
    return int(shares.sum())


def _equal_to_the_next(*columns: Any) -> Any:
    """(N - 1,) bool: with the rows sorted, is each equal to the one behind it?"""
    order = np.lexsort(columns).astype(np.uint32)
    same = np.ones(max(len(order) - 1, 0), bool)
    for column in columns:
        values = column[order]
        same &= values[1:] == values[:-1]
    return same
