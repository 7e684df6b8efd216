"""item-knn against its definition as a loop."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from gti_cli.baselines import item_knn
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


@pytest.mark.parametrize("pairs_at_once", [1, 7, 1 << 21])
@pytest.mark.parametrize("short_key", [0, 8, 12, 32])
def test_pairs_are_the_same_in_blocks_and_with_long_keys(
    train: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, pairs_at_once: int, short_key: int
) -> None:
    whole = ItemKNN(train, ROW_OF, SETTINGS[0]).similarity
    monkeypatch.setattr(item_knn, "_PAIRS_AT_ONCE", pairs_at_once)
    monkeypatch.setattr(item_knn, "_PAIRS_TOGETHER", 5 * pairs_at_once)
    monkeypatch.setattr(item_knn, "_SHORT_KEY", short_key)
    in_blocks = ItemKNN(train, ROW_OF, SETTINGS[0]).similarity
    assert whole.nnz > ITEMS
    assert (in_blocks.indptr == whole.indptr).all() and (in_blocks.indices == whole.indices).all()
    assert (in_blocks.data == whole.data).all()


def test_nobody_has_two_items() -> None:
    assert np.isneginf(ItemKNN({"u": ["i1"], "v": ["i2"]}, ROW_OF).scores([[1, 2]])).all()
