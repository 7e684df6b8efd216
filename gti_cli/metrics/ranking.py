"""Recall, NDCG and MRR of the target's rank, and coverage and novelty of lists.

Each user has one target, so Recall@K is the hit rate. Items that a method cannot tell apart (they share a semantic ID,
or a baseline's score) are one tie: the target is equally likely at each of the tie's ranks, and every metric is the
expected value over these ranks. If a tokenizer gives a hundred items one semantic ID, the model gets a hundredth of a
hit at rank 1, not a hit.

The ranks come from `gti_cli.evaluation.recommended_lists` for the model, and from `gti_cli.baselines.base`
for baselines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TargetRanks:
    """The rank of each user's target, among all items.

    Attributes:
        ahead: (U,) int64 number of items ranked strictly before the target; -1 if the target is not recommended at all.
        ties: (U,) int64 number of items with the target's score, itself included; at least 1.
    """

    ahead: npt.NDArray[np.int64]
    ties: npt.NDArray[np.int64]


def join_ranks(parts: Sequence[TargetRanks]) -> TargetRanks:
    """The ranks of several groups of users, one after the other."""
    return TargetRanks(np.concatenate([part.ahead for part in parts]), np.concatenate([part.ties for part in parts]))


def recall_at(ranks: TargetRanks, k: int) -> Floats:
    """(U,) probability that the target is among the first ``k`` items."""
    # The share of the tie's ranks, ahead + 1 … ahead + ties, that are at most k.
    inside = np.clip(k - ranks.ahead, 0, ranks.ties) / ranks.ties
    return np.where(ranks.ahead >= 0, inside, 0.0)


def ndcg_at(ranks: TargetRanks, k: int) -> Floats:
    """(U,) expected NDCG@k with one relevant item: 1 / log2(1 + rank) if rank <= k, else 0."""
    gains = 1 / np.log2(np.arange(2, k + 2))
    return _expected_gain(ranks, gains)


def reciprocal_rank(ranks: TargetRanks, k: int) -> Floats:
    """(U,) expected 1 / rank if rank <= k, else 0; MRR is its mean."""
    return _expected_gain(ranks, 1 / np.arange(1, k + 1))


def _expected_gain(ranks: TargetRanks, gains: Floats) -> Floats:
    """Mean gain over the ranks ahead + 1 … ahead + ties; ``gains[r - 1]`` is that of rank r, and 0 beyond the last."""
    k = len(gains)
    # The sum over a run of ranks is a difference of two cumulative sums.
    cumulative = np.concatenate([[0.0], np.cumsum(gains)])
    start, stop = np.clip(ranks.ahead, 0, k), np.clip(ranks.ahead + ranks.ties, 0, k)
    return np.where(ranks.ahead >= 0, (cumulative[stop] - cumulative[start]) / ranks.ties, 0.0)


def per_user(ranks: TargetRanks, ks: Sequence[int]) -> dict[str, Floats]:
    """Compute every metric for every user.

    Args:
        ranks: The ranks of U targets.
        ks: Cut-offs.

    Returns:
        (U,) values of ``recall@K``, ``ndcg@K`` and ``precision@K`` for each cut-off, and of ``mrr`` at the largest.
    """
    values: dict[str, Floats] = {}
    for k in ks:
        values[f"recall@{k}"] = recall_at(ranks, k)
        values[f"ndcg@{k}"] = ndcg_at(ranks, k)
        values[f"precision@{k}"] = values[f"recall@{k}"] / k
    values["mrr"] = reciprocal_rank(ranks, max(ks))
    return values


def averages(values: dict[str, Floats]) -> dict[str, float]:
    """Mean of each metric over the users."""
    return {name: float(column.mean()) for name, column in values.items()}


def list_metrics(lists: npt.NDArray[np.int64], ks: Sequence[int], counts: Floats) -> dict[str, float]:
    """Compute coverage and novelty, which describe lists without regard to targets.

    ``coverage@K``: share of the catalogue's items that are among anyone's first K. ``novelty@K``: mean over the items
    among the first K, then over the users, of -log2 p in bits, with p = (c + 1) / (sum of c + N) and c the item's
    training interactions. Lists of rarer items score higher. The 1 gives items never seen in training a finite number.

    Args:
        lists: (U, k) catalogue rows, best first, with -1 after the last item.
        ks: Cut-offs, at most k.
        counts: (N,) training interactions of each item.
    """
    bits = -np.log2((counts + 1) / (counts.sum() + len(counts)))
    metrics: dict[str, float] = {}
    for k in ks:
        first = lists[:, :k]
        is_item = first >= 0
        is_listed = np.zeros(len(counts), dtype=bool)
        is_listed[first[is_item]] = True
        metrics[f"coverage@{k}"] = int(is_listed.sum()) / len(counts)
        lengths = is_item.sum(1)
        # Users with an empty list have no mean and are left out.
        sums = np.where(is_item, bits[first], 0).sum(1)[lengths > 0]
        metrics[f"novelty@{k}"] = float((sums / lengths[lengths > 0]).mean()) if len(sums) else 0.0
    return metrics
