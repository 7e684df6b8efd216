"""Ids that are not found because one of two files spells them otherwise: ``7`` for ``007``, ``7.0`` for ``7``."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

_POINT = re.compile(r"(?<=\d)\.0+$")


@dataclass(frozen=True)
class NearMiss:
    """Why most of the unknown ids are not found.

    Attributes:
        problem: What to add to the error line.
        remedy: What to do about it.
    """

    problem: str
    remedy: str


def _without_zeros(name: str) -> str:
    return name.lstrip("0") or "0"


def _without_point(name: str) -> str:
    return _POINT.sub("", name)


def _without_both(name: str) -> str:
    return _without_zeros(_without_point(name.strip()))


_AS_TEXT = "a program has read these ids as numbers: write that column as text, in both files alike"
_DIFFERENCES: tuple[tuple[str, Callable[[str], str], str], ...] = (
    ("by leading zeros", _without_zeros, _AS_TEXT),
    ("by a trailing '.0'", _without_point, _AS_TEXT),
    ("by spaces around the id", str.strip, "remove the spaces in the file that has them"),
    ("by leading zeros, a trailing '.0' or spaces", _without_both, _AS_TEXT),
)


def near_miss(unknown: Sequence[str], known: Collection[str]) -> NearMiss | None:
    """Say by what most unknown ids differ from known ones, if it is leading zeros, a trailing ``.0`` or spaces alone.

    Args:
        unknown: The ids that were not found, each once.
        known: The ids among which they were sought.

    Returns:
        The difference, with an example; None where at most half of the unknown ids are explained by it.
    """
    for difference, simplify, remedy in _DIFFERENCES:
        wanted = {simplify(name) for name in unknown}
        # A catalogue may be large: what nobody asks for is not kept.
        spelling_of = {simple: name for name in known if (simple := simplify(name)) in wanted}
        explained = [name for name in unknown if simplify(name) in spelling_of]
        if 2 * len(explained) > len(unknown):
            example = f"{explained[0]!r} here is {spelling_of[simplify(explained[0])]!r} there"
            share = "all" if len(explained) == len(unknown) else f"{len(explained):,} of {len(unknown):,}"
            return NearMiss(f"; {share} differ {difference} alone from ids that exist ({example})", remedy)
    return None
