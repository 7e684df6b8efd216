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
    """Every metric for every user: ``recall@K``, ``ndcg@K`` for each K, and ``mrr`` (cut at the largest K)."""
    found: dict[str, Floats] = {}
    for k in ks:
        found[f"recall@{k}"] = recall_at(ranks, k)
        found[f"ndcg@{k}"] = ndcg_at(ranks, k)
    found["mrr"] = reciprocal_rank(ranks, max(ks))
    return found


def averages(values: dict[str, Floats]) -> dict[str, float]:
    """Mean over the users of each metric."""
    return {name: float(column.mean()) for name, column in values.items()}


def ranks_from_scores(scores: Floats, target: int) -> tuple[int, int]:
    """(ahead, ties) of item ``target`` under ``scores`` (N,); -inf marks items that are not recommended."""
    own = scores[target]
    if np.isneginf(own):
        return -1, 1
    return int((scores > own).sum()), int((scores == own).sum())
