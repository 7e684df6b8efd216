"""The option ``--sample``: an evaluation of some users or queries, drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from gti_cli.tables.arrays.query_lists import QueryLists
from gti_cli.tables.arrays.targets import Targets

T = TypeVar("T")


def draw_sample(entries: Sequence[T], owner_of: Callable[[T], str], sample: int | None, seed: int) -> Sequence[T]:
    """Draw users or queries, and return their entries in the order in which they stood.

    All entries of a user are drawn together. With the same seed a larger sample contains every smaller one.

    Args:
        entries: One for each target, or query.
        owner_of: Gives the user or query of an entry.
        sample: Number of users or queries to draw. With None, or if there are no more than that, all are returned.
        seed: Seed of the draw.
    """
    if sample is None:
        return entries
    if isinstance(entries, Targets):
        numbers: npt.NDArray[np.int64] = entries.owners
    elif isinstance(entries, QueryLists):
        numbers = entries.numbers
    else:
        number_of: dict[str, int] = {}
        owners = (number_of.setdefault(owner_of(entry), len(number_of)) for entry in entries)
        numbers = np.fromiter(owners, np.int64, len(entries))
    # The owners are numbered by their first entries.
    distinct, first, numbers = np.unique(numbers, return_index=True, return_inverse=True)
    if sample >= len(distinct):
        return entries
    # The second number keeps this stream apart from others of the same seed.
    order = np.random.default_rng([seed, 0x5A]).permutation(len(distinct))
    is_chosen = np.zeros(len(distinct), dtype=bool)
    is_chosen[np.argsort(first)[order[:sample]]] = True
    chosen = np.flatnonzero(is_chosen[numbers])
    if isinstance(entries, Targets | QueryLists):
        return cast("Sequence[T]", entries.take(chosen))
    return [entries[number] for number in chosen.tolist()]
