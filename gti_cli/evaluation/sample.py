"""Whom an evaluation asks where it does not ask everybody: users, or queries, drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def drawn(entries: Sequence[T], name: Callable[[T], str], sample: int | None, seed: int) -> list[T]:
    """The entries of ``sample`` users (or queries), in their order; all of them if there are no more, or with None.

    A user's entries are drawn together. With the same seed a larger sample holds every smaller one.

    Args:
        entries: one for each target. name: whose it is. sample: how many to draw. seed: of the draw.
    """
    owners = list(dict.fromkeys(map(name, entries)))
    if sample is None or sample >= len(owners):
        return list(entries)
    order = np.random.default_rng([seed, 0x5A]).permutation(len(owners))
    chosen = {owners[place] for place in order[:sample].tolist()}
    return [entry for entry in entries if name(entry) in chosen]
