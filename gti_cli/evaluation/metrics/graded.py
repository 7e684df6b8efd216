"""Metrics of search with graded relevance, with ties shared fairly.

A ranking is a run of groups: items that a method cannot tell apart (they share a semantic ID, or a baseline's score).
Every metric is its expected value over the orders within the groups, all equally likely, as in
`gti_cli.evaluation.metrics.ranking`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb, log2

import numpy as np
import numpy.typing as npt

from gti_cli.tables.queries import GOOD, MAYBE

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Items at one place of a ranking: how many, and how many of them are good and maybe."""

    size: int
    good: int
    maybe: int


def groups_of(groups: Sequence[Sequence[int]], grades: Mapping[int, int]) -> list[Group]:
    """`Group` of each run of catalogue rows; ``grades``: row -> grade of the items that were judged."""
    found = []
    for rows in groups:
        known = [grades.get(row, 0) for row in rows]
        found.append(Group(len(rows), known.count(GOOD), known.count(MAYBE)))
    return found


def measure(groups: Sequence[Group], good: int, maybe: int, ks: Sequence[int]) -> dict[str, float]:
    """Every metric of one query.

    ``ndcg@K``: gains 2 ** grade - 1 (3 and 1), discounts 1 / log2(1 + rank), over that of the best order (Burges et
    al., ICML 2005). ``precision_good@K``, ``precision_maybe@K``: share of the first K that is good, and that is good or
    maybe. ``recall@K``: share of the good items among the first K. ``hit_rate@K``: is a good one among them. ``mrr``:
    1 / rank of the first good one, at the largest K. Items that were not judged count as not fitting.

    Args:
        groups: best first, none empty. good, maybe: how many items were judged so, listed or not; at least one is good.
        ks: cut-offs.
    """
    found: dict[str, float] = {}
    for k in ks:
        goods = _within(groups, k, lambda group: group.good)
        either = goods + _within(groups, k, lambda group: group.maybe)
        found[f"recall@{k}"] = goods / good
        found[f"ndcg@{k}"] = _dcg(groups, k) / _dcg([Group(1, 1, 0)] * good + [Group(1, 0, 1)] * maybe, k)
        found[f"hit_rate@{k}"] = _hit(groups, k)
        found[f"precision_good@{k}"] = goods / k
        found[f"precision_maybe@{k}"] = either / k
    found["mrr"] = _reciprocal_rank(groups, max(ks))
    return found


def _within(groups: Sequence[Group], k: int, count: Callable[[Group], int]) -> float:
    """Expected number among the first ``k``."""
    total, left = 0.0, k
    for group in groups:
        total += count(group) * min(left, group.size) / group.size
        left -= group.size
        if left <= 0:
            break
    return total


def _dcg(groups: Sequence[Group], k: int) -> float:
    total, ahead = 0.0, 0
    for group in groups:
        gain = (2**GOOD - 1) * group.good + (2**MAYBE - 1) * group.maybe
        if gain:
            ranks = range(ahead + 1, min(ahead + group.size, k) + 1)
            total += gain / group.size * sum(1 / log2(1 + rank) for rank in ranks)
        ahead += group.size
        if ahead >= k:
            break
    return total


def _hit(groups: Sequence[Group], k: int) -> float:
    """Probability that a good item is among the first ``k``."""
    left = k
    for group in groups:
        if left <= 0:
            break
        if group.good:
            shown = min(left, group.size)
            # Only the last group can be cut; all good ones of it fall behind the cut with this probability.
            missed = comb(group.size - group.good, shown) / comb(group.size, shown)
            return 1 - missed
        left -= group.size
    return 0.0


def _reciprocal_rank(groups: Sequence[Group], k: int) -> float:
    """Expected 1 / rank of the first good item, 0 beyond ``k``: it is in the first group that has any."""
    ahead = 0
    for group in groups:
        if group.good:
            orders = comb(group.size, group.good)
            places = range(1, group.size - group.good + 2)
            chances = [comb(group.size - place, group.good - 1) / orders for place in places]
            return sum(
                chance / (ahead + place) for place, chance in zip(places, chances, strict=True) if ahead + place <= k
            )
        ahead += group.size
    return 0.0


def columns(rows: Sequence[Mapping[str, float]]) -> dict[str, Floats]:
    """Metric -> (Q,) from one mapping a query."""
    return {name: np.asarray([row[name] for row in rows]) for name in rows[0]}
