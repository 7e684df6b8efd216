"""item-knn against its definition as a loop, and its tuning."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from gti_cli.evaluation.baselines.base import places_of
from gti_cli.evaluation.baselines.item_knn import ItemKNN, Neighbourhood
from gti_cli.evaluation.baselines.item_knn_tuning import GRID, sparse_ranks, tune, without_last
from gti_cli.evaluation.metrics.ranking import ndcg_at
from gti_cli.tables.histories import History

ITEMS = 15
ROW_OF = {f"i{n}": n for n in range(ITEMS)}
HOWS = (
    Neighbourhood(),
    Neighbourhood(window=3, falloff=0.5, backwards=0.0, last=2, decay=1.0, normalisation=0.25, shrinkage=3.0),
    Neighbourhood(window=50, falloff=0.0, backwards=1.0, last=50, decay=0.9, normalisation=0.0),
)


@pytest.fixture(scope="module")
def train() -> dict[str, list[str]]:
    rng = np.random.default_rng(3)
    # The last three items are never seen in training; items repeat within a user.
    return {f"u{n}": [f"i{row}" for row in rng.integers(0, ITEMS - 3, 1 + n % 9)] for n in range(30)}


def loop(train: dict[str, list[str]], history: list[int], how: Neighbourhood) -> np.ndarray:
    """Scores from the definition."""
    counts = Counter(item for items in train.values() for item in items)
    similarity: Counter[tuple[int, int]] = Counter()
    for items in train.values():
        for a, first in enumerate(items):
            for b in range(a + 1, min(a + 1 + how.window, len(items))):
                weight = (b - a) ** -how.falloff
                similarity[ROW_OF[first], ROW_OF[items[b]]] += weight
                similarity[ROW_OF[items[b]], ROW_OF[first]] += how.backwards * weight
    size = [max(counts[f"i{row}"] + how.shrinkage, 1) ** how.normalisation for row in range(ITEMS)]
    scores = np.zeros(ITEMS)
    for back, row in enumerate(history[::-1][: how.last]):
        for other in range(ITEMS):
            scores[other] += how.decay**back * similarity[row, other] / (size[row] * size[other])
    return scores


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("history", [[0], [1, 2, 3], [5, 5, 1, 0, 2, 7, 9, 3], [14]])
def test_scores(train: dict[str, list[str]], history: list[int], how: Neighbourhood) -> None:
    expected = loop(train, history, how)
    found = ItemKNN(train, ROW_OF, how).scores([history, [0]])[0]
    np.testing.assert_allclose(np.where(np.isneginf(found), 0, found), expected, atol=1e-12)
    assert (np.isneginf(found) == (expected == 0)).all()


def test_nobody_has_two_items() -> None:
    assert np.isneginf(ItemKNN({"u": ["i1"], "v": ["i2"]}, ROW_OF).scores([[1, 2]])).all()


@pytest.mark.parametrize("filter_seen", [False, True])
def test_sparse_ranks_are_those_of_dense_scores(train: dict[str, list[str]], filter_seen: bool) -> None:
    rng = np.random.default_rng(4)
    histories = [rng.integers(0, ITEMS, 1 + n % 6).tolist() for n in range(200)]
    targets = rng.integers(0, ITEMS, 200)
    model = ItemKNN(train, ROW_OF)
    found = sparse_ranks(model.similar(histories), histories, targets, filter_seen)
    expected = places_of(model.scores(histories), histories, targets.tolist(), filter_seen=filter_seen)
    assert (found.ahead == expected.ahead).all() and (found.ties == expected.ties).all()
    assert (found.ahead < 0).any() and (found.ahead > 0).any() and (found.ties > 1).any()


def steps_of_two(users: int) -> tuple[dict[str, list[str]], list[History]]:
    """Sequences whose next item is the last but one plus 1: the last item says nothing, the one before it all."""
    rng = np.random.default_rng(5)
    train, held_out = {}, []
    for user in range(users):
        rows = rng.integers(0, ITEMS, 2).tolist()
        while len(rows) < 9:
            rows.append((rows[-2] + 1) % ITEMS)
        items = [f"i{row}" for row in rows]
        train[f"u{user}"] = items[:-1]
        held_out.append(History(f"u{user}", items[:-1], items[-1]))
    return train, held_out


def test_tuning_gets_better_and_says_what_it_chose() -> None:
    train, held_out = steps_of_two(150)
    found = tune(train, held_out, ROW_OF, filter_seen=False)
    assert found.ndcg > found.untuned + 0.1
    assert 20 < found.tried <= 1 + 2 * sum(len(values) - 1 for values in GRID.values()) + len(GRID)
    histories = [[ROW_OF[item] for item in entry.items] for entry in held_out]
    ranks = places_of(
        ItemKNN(train, ROW_OF, found.how).scores(histories),
        histories,
        [ROW_OF[entry.target] for entry in held_out],
        filter_seen=False,
    )
    assert ndcg_at(ranks, 10).mean() == pytest.approx(found.ndcg)
    assert found.report()["chosen"]["backwards"] == found.how.backwards
    assert found.report()["held_out_targets_used"] == 150
    assert tune(train, held_out, ROW_OF, filter_seen=False) == found


def test_a_sample_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gti_cli.evaluation.baselines.item_knn_tuning.TARGETS", 40)
    train, held_out = steps_of_two(100)
    report = tune(train, held_out, ROW_OF, filter_seen=True).report()
    assert (report["held_out_targets"], report["held_out_targets_used"]) == (100, 40)


def test_the_last_training_item_is_held_out() -> None:
    kept, held_out = without_last({"a": ["x", "y", "z"], "b": ["x"]})
    assert kept == {"a": ["x", "y"], "b": ["x"]}
    assert held_out == [History("a", ["x", "y"], "z")]
