"""Recall, NDCG and MRR on items, with ties shared fairly.

Each user has one target, so Recall@K is the hit rate. Items that a method cannot tell apart (they share a semantic ID,
or a baseline's score) are one tie: the target is equally likely at each of the tie's ranks, and every metric is the
expected value over these ranks. A model whose tokenizer gives a hundred items one semantic ID gets a hundredth of a hit
at rank 1, not a hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranks:
    """Where each user's target stands.

    Attributes:
        ahead: (U,) int64, items ranked strictly before the target; -1: the target was not recommended at all.
        ties: (U,) int64, items that share the target's place, the target among them (>= 1).
    """

    ahead: npt.NDArray[np.int64]
    ties: npt.NDArray[np.int64]


def recall_at(ranks: Ranks, k: int) -> Floats:
    """(U,) probability that the target is among the first ``k`` items."""
    inside = np.clip(k - ranks.ahead, 0, ranks.ties) / ranks.ties
    return np.where(ranks.ahead >= 0, inside, 0.0)


def ndcg_at(ranks: Ranks, k: int) -> Floats:
    """(U,) expected NDCG@k with one relevant item: 1 / log2(1 + rank) if rank <= k, else 0."""
    gains = 1 / np.log2(np.arange(2, k + 2))
    return _expected(ranks, gains)


def reciprocal_rank(ranks: Ranks, k: int) -> Floats:
    """(U,) expected 1 / rank if rank <= k, else 0; MRR is its mean."""
    return _expected(ranks, 1 / np.arange(1, k + 1))


def _expected(ranks: Ranks, gains: Floats) -> Floats:
    """Mean gain over the ranks ahead + 1 … ahead + ties; ``gains[r - 1]`` is that of rank r, 0 beyond."""
    k = len(gains)
    total = np.concatenate([[0.0], np.cumsum(gains)])
    start, stop = np.clip(ranks.ahead, 0, k), np.clip(ranks.ahead + ranks.ties, 0, k)
    return np.where(ranks.ahead >= 0, (total[stop] - total[start]) / ranks.ties, 0.0)


def per_user(ranks: Ranks, ks: Sequence[int]) -> dict[str, Floats]:
    """Every metric for every user: ``recall@K``, ``ndcg@K``, ``precision@K``, and ``mrr`` at the largest K."""
    found: dict[str, Floats] = {}
    for k in ks:
        found[f"recall@{k}"] = recall_at(ranks, k)
        found[f"ndcg@{k}"] = ndcg_at(ranks, k)
        found[f"precision@{k}"] = found[f"recall@{k}"] / k
    found["mrr"] = reciprocal_rank(ranks, max(ks))
    return found


def averages(values: dict[str, Floats]) -> dict[str, float]:
    """Mean over the users of each metric."""
    return {name: float(column.mean()) for name, column in values.items()}


def of_lists(lists: npt.NDArray[np.int64], ks: Sequence[int], counts: Floats) -> dict[str, float]:
    """What the lists are like, whoever they are for.

    ``coverage@K``: share of the catalogue's items that are in anyone's first K. ``novelty@K``: mean over the items in
    the first K, then over the users, of -log2 p with p = (c + 1) / (sum of c + N), c the item's training interactions:
    bits, higher for lists of rarer items; the 1 gives items never seen in training a finite number.

    Args:
        lists: (U, k) catalogue rows, best first; -1: nothing more. ks: cut-offs, at most k. counts: (N,) float64.
    """
    bits = -np.log2((counts + 1) / (counts.sum() + len(counts)))
    found: dict[str, float] = {}
    for k in ks:
        first = lists[:, :k]
        shown = first >= 0
        found[f"coverage@{k}"] = len(np.unique(first[shown])) / len(counts)
        lengths = shown.sum(1)
        sums = np.where(shown, bits[first], 0).sum(1)[lengths > 0]
        found[f"novelty@{k}"] = float((sums / lengths[lengths > 0]).mean()) if len(sums) else 0.0
    return found
