"""Popularity, and places of targets, against loops over users."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from gti_cli.evaluation.baselines.base import rank_targets
from gti_cli.evaluation.baselines.item_knn import ItemKNN
from gti_cli.evaluation.baselines.popularity import Popularity
from gti_cli.evaluation.metrics.ranking import recall_at
from gti_cli.tables.histories import History

ITEMS = 15
ROW_OF = {f"i{n}": n for n in range(ITEMS)}


@pytest.fixture(scope="module")
def train() -> dict[str, list[str]]:
    rng = np.random.default_rng(3)
    # The last three items are never seen in training; items repeat within a user.
    return {f"u{n}": [f"i{row}" for row in rng.integers(0, ITEMS - 3, 1 + n % 9)] for n in range(30)}


def test_popularity(train: dict[str, list[str]]) -> None:
    counts = Counter(item for items in train.values() for item in items)
    found = Popularity(train, ROW_OF).scores([[0]])[0]
    for item, row in ROW_OF.items():
        assert found[row] == (counts[item] or -np.inf)


@pytest.mark.parametrize("filter_seen", [False, True])
@pytest.mark.parametrize("kind", [Popularity, ItemKNN])
def test_places_of_the_targets(train: dict[str, list[str]], kind: type, filter_seen: bool) -> None:
    rng = np.random.default_rng(4)
    entries = [
        History(f"u{n}", [f"i{row}" for row in rng.integers(0, ITEMS, 4)], f"i{rng.integers(ITEMS)}")
        for n in range(300)
    ]
    baseline = kind(train, ROW_OF)
    ranks, lists = rank_targets(baseline, entries, ROW_OF, filter_seen=filter_seen, k=6)
    for user, entry in enumerate(entries):
        rows = [ROW_OF[item] for item in entry.items]
        scores = {row: score for row, score in enumerate(baseline.scores([rows])[0]) if np.isfinite(score)}
        if filter_seen:
            scores = {row: score for row, score in scores.items() if row not in rows}
        order = sorted(scores, key=lambda row: (-scores[row], row))[:6]
        assert lists[user].tolist() == order + [-1] * (6 - len(order))
        target = ROW_OF[entry.target]
        if target not in scores:
            assert ranks.ahead[user] == -1
            continue
        assert ranks.ahead[user] == sum(score > scores[target] for score in scores.values())
        assert ranks.ties[user] == sum(score == scores[target] for score in scores.values())
    assert recall_at(ranks, ITEMS).max() == 1
