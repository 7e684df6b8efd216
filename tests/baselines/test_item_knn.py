"""item-knn against its definition as a loop."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from gti_cli.baselines.item_knn import ItemKNN, Neighbourhood
from tests.support.baselines import ITEMS, ROW_OF, random_train

SETTINGS = (
    Neighbourhood(),
    Neighbourhood(window=3, falloff=0.5, backwards=0.0, last=2, decay=1.0, normalisation=0.25, shrinkage=3.0),
    Neighbourhood(window=50, falloff=0.0, backwards=1.0, last=50, decay=0.9, normalisation=0.0),
)


@pytest.fixture(scope="module")
def train() -> dict[str, list[str]]:
    return random_train()


def loop(train: dict[str, list[str]], history: list[int], settings: Neighbourhood) -> np.ndarray:
    """Scores from the definition."""
    counts = Counter(item for items in train.values() for item in items)
    similarity: Counter[tuple[int, int]] = Counter()
    for items in train.values():
        for a, first in enumerate(items):
            for b in range(a + 1, min(a + 1 + settings.window, len(items))):
                weight = (b - a) ** -settings.falloff
                similarity[ROW_OF[first], ROW_OF[items[b]]] += weight
                similarity[ROW_OF[items[b]], ROW_OF[first]] += settings.backwards * weight
    size = [max(counts[f"i{row}"] + settings.shrinkage, 1) ** settings.normalisation for row in range(ITEMS)]
    scores = np.zeros(ITEMS)
    for back, row in enumerate(history[::-1][: settings.last]):
        for other in range(ITEMS):
            scores[other] += settings.decay**back * similarity[row, other] / (size[row] * size[other])
    return scores


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("history", [[0], [1, 2, 3], [5, 5, 1, 0, 2, 7, 9, 3], [14]])
def test_scores(train: dict[str, list[str]], history: list[int], settings: Neighbourhood) -> None:
    expected = loop(train, history, settings)
    found = ItemKNN(train, ROW_OF, settings).scores([history, [0]])[0]
    np.testing.assert_allclose(np.where(np.isneginf(found), 0, found), expected, atol=1e-12)
    assert (np.isneginf(found) == (expected == 0)).all()


def test_nobody_has_two_items() -> None:
    assert np.isneginf(ItemKNN({"u": ["i1"], "v": ["i2"]}, ROW_OF).scores([[1, 2]])).all()
