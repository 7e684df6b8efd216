"""Metrics of search with graded relevance, where ties are shared fairly.

A ranking is a sequence of groups: items that a method cannot tell apart (they share a semantic ID, or a baseline's
score). Every metric is its expected value over the orders within the groups, all equally likely, as in
`gti_cli.metrics.ranking`.
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
    """The items that share one place of a ranking.

    Attributes:
        size: Number of items.
        good: How many of them are good.
        maybe: How many of them are maybe.
    """

    size: int
    good: int
    maybe: int


def count_grades(groups: Sequence[Sequence[int]], grade_of: Mapping[int, int]) -> list[Group]:
    """Count the good and maybe items of each group.

    Args:
        groups: Catalogue rows of each group.
        grade_of: Grade of each judged catalogue row; other rows count as not fitting.
    """
    counted = []
    for rows in groups:
        grades = [grade_of.get(row, 0) for row in rows]
        counted.append(Group(len(rows), grades.count(GOOD), grades.count(MAYBE)))
    return counted


def query_metrics(groups: Sequence[Group], good: int, maybe: int, ks: Sequence[int]) -> dict[str, float]:
    """Compute every metric of one query.

    ``ndcg@K`` has gains 2 ** grade - 1 (3 and 1) and discounts 1 / log2(1 + rank), divided by that of the best order
    (Burges et al., ICML 2005). ``precision_good@K`` and ``precision_maybe@K`` are the shares of the first K that are
    good, and that are good or maybe. ``recall@K`` is the share of the good items that are among the first K, and
    ``hit_rate@K`` is 1 if any is. ``mrr`` is 1 / rank of the first good item, up to the largest K.

    Args:
        groups: Best first, none empty.
        good: Number of items judged good, listed or not; at least one.
        maybe: Number of items judged maybe, listed or not.
        ks: Cut-offs.
    """
    metrics: dict[str, float] = {}
    for k in ks:
        good_listed = _count_within(groups, k, lambda group: group.good)
        good_or_maybe = good_listed + _count_within(groups, k, lambda group: group.maybe)
        metrics[f"recall@{k}"] = good_listed / good
        metrics[f"ndcg@{k}"] = _dcg(groups, k) / _dcg([Group(1, 1, 0)] * good + [Group(1, 0, 1)] * maybe, k)
        metrics[f"hit_rate@{k}"] = _hit(groups, k)
        metrics[f"precision_good@{k}"] = good_listed / k
        metrics[f"precision_maybe@{k}"] = good_or_maybe / k
    metrics["mrr"] = _reciprocal_rank(groups, max(ks))
    return metrics


def _count_within(groups: Sequence[Group], k: int, count: Callable[[Group], int]) -> float:
    """Expected number of items of a grade among the first ``k``; ``count`` gives a group's number of them."""
    total, left = 0.0, k
    for group in groups:
        # If only some places of the group are within k, each of its items is there with equal probability.
        total += count(group) * min(left, group.size) / group.size
        left -= group.size
        if left <= 0:
            break
    return total


def _dcg(groups: Sequence[Group], k: int) -> float:
    """Expected discounted cumulative gain: each item of a group has the group's mean discount."""
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
            # Only the group at the cut can miss: with this probability all its good items stand beyond the cut.
            missed = comb(group.size - group.good, shown) / comb(group.size, shown)
            return 1 - missed
        left -= group.size
    return 0.0


def _reciprocal_rank(groups: Sequence[Group], k: int) -> float:
    """Expected 1 / rank of the first good item, 0 beyond ``k``; it is in the first group that has any."""
    ahead = 0
    for group in groups:
        if group.good:
            # ``orders`` ways to choose the places of the good items; in comb(size - place, good - 1) of them the first
            # good item stands at ``place``.
            orders = comb(group.size, group.good)
            places = range(1, group.size - group.good + 2)
            chances = [comb(group.size - place, group.good - 1) / orders for place in places]
            return sum(
                chance / (ahead + place) for place, chance in zip(places, chances, strict=True) if ahead + place <= k
            )
        ahead += group.size
    return 0.0


def as_columns(rows: Sequence[Mapping[str, float]]) -> dict[str, Floats]:
    """Turn one mapping for each query into (Q,) values of each metric."""
    return {name: np.asarray([row[name] for row in rows]) for name in rows[0]}
