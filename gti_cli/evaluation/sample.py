"""The option ``--sample``: an evaluation of some users or queries, drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def draw_sample(entries: Sequence[T], owner_of: Callable[[T], str], sample: int | None, seed: int) -> list[T]:
    """Draw users or queries, and return their entries in the order in which they stood.

    All entries of a user are drawn together. With the same seed a larger sample contains every smaller one.

    Args:
        entries: One for each target.
        owner_of: Gives the user or query of an entry.
        sample: Number of users or queries to draw. With None, or if there are no more than that, all are returned.
        seed: Seed of the draw.
    """
    owners = list(dict.fromkeys(map(owner_of, entries)))
    if sample is None or sample >= len(owners):
        return list(entries)
    # The second number keeps this stream apart from others of the same seed.
    order = np.random.default_rng([seed, 0x5A]).permutation(len(owners))
    chosen = {owners[place] for place in order[:sample].tolist()}
    return [entry for entry in entries if owner_of(entry) in chosen]
