"""The tuning of item-knn: ranks from sparse scores, and the settings that it chooses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gti_cli.baselines.base import target_ranks
from gti_cli.baselines.item_knn import ItemKNN, Neighbourhood, Neighbours
from gti_cli.baselines.item_knn_tuning import GRID, _Measure, tune
from gti_cli.metrics.ranking import ndcg_at
from gti_cli.tables.arrays.user_lists import UserLists
from gti_cli.tables.histories import History
from tests.support.baselines import ITEMS, ROW_OF


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
    assert found.ndcg > found.untuned_ndcg + 0.1
    assert 20 < found.tried <= 1 + 2 * sum(len(values) - 1 for values in GRID.values()) + len(GRID)
    histories = [[ROW_OF[item] for item in entry.items] for entry in held_out]
    ranks = target_ranks(
        ItemKNN(train, ROW_OF, found.best).scores(histories),
        histories,
        [ROW_OF[entry.target] for entry in held_out],
        filter_seen=False,
    )
    assert ndcg_at(ranks, 10).mean() == pytest.approx(found.ndcg)
    assert found.report()["chosen"]["backwards"] == found.best.backwards
    assert found.report()["held_out_targets_used"] == 150
    assert tune(train, held_out, ROW_OF, filter_seen=False) == found


def test_a_sample_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gti_cli.baselines.item_knn_tuning.TARGETS", 40)
    train, held_out = steps_of_two(100)
    report = tune(train, held_out, ROW_OF, filter_seen=True).report()
    assert (report["held_out_targets"], report["held_out_targets_used"]) == (100, 40)


Shop = tuple[dict[str, list[str]], dict[str, int], list[list[int]], npt.NDArray[np.int64], Neighbours]


def made_shop() -> Shop:
    """Training items, rows, histories, targets, and the training sequences."""
    rng = np.random.default_rng(6)
    items = 60
    row_of = {f"i{row}": row for row in range(items)}
    near = [rng.integers(0, items) + np.cumsum(rng.integers(0, 3, 12)) for _ in range(80)]
    train = {f"u{user}": [f"i{row % items}" for row in rows] for user, rows in enumerate(near)}
    histories = [(rows[-1 - n % 9 :] % items).tolist() for n, rows in enumerate(near)]
    targets = np.asarray([(rows[-1] + rng.integers(0, 6)) % items for rows in near])
    lists = UserLists.of(train)
    return train, row_of, histories, targets, Neighbours(lists.rows(row_of), lists.owners(), items)


def ndcg_of_all_scores(settings: Neighbourhood, shop: Shop, filter_seen: bool) -> npt.NDArray[np.float64]:
    """NDCG of each history, from the scores of all items."""
    train, row_of, histories, targets, _ = shop
    scores = ItemKNN(train, row_of, settings).scores(histories)
    return ndcg_at(target_ranks(scores, histories, targets.tolist(), filter_seen=filter_seen), 10)


@pytest.mark.parametrize("filter_seen", [False, True])
def test_a_measurement_is_that_of_all_scores(filter_seen: bool) -> None:
    rng, shop = np.random.default_rng(6), made_shop()
    train, row_of, histories, targets, neighbours = shop
    measure = _Measure(neighbours, histories, targets, filter_seen)
    looked_at = []
    for _ in range(40):
        settings = Neighbourhood(**{name: rng.choice(values).item() for name, values in GRID.items()})
        expected = ndcg_of_all_scores(settings, shop, filter_seen)
        assert measure.ndcg_of(settings) == pytest.approx(expected.mean(), abs=1e-12)
        may = measure._may_be_first(ItemKNN(train, row_of, settings))
        assert not (expected > 0)[~may].any()
        looked_at.append(may.mean())
    assert min(looked_at) < 0.8  # otherwise nothing was left out


def test_pairs_are_counted_again_only_for_longer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = made_shop()
    _, _, histories, targets, neighbours = shop
    counted: list[set[int]] = []
    count = Neighbours.count

    def note(self: Neighbours, settings: Neighbourhood, only: Any = None) -> Any:
        """Keep the items that pairs are counted for, unless all are."""
        if only is not None:
            counted.append(set(only.tolist()))
        return count(self, settings, only)

    monkeypatch.setattr(Neighbours, "count", note)
    measure = _Measure(neighbours, histories, targets, False)
    ends = {last: {row for history in histories for row in history[-last:]} for last in (1, 2, 20)}
    expected = []
    # Another window needs another count. Behind one for a single last item comes one for all that are tried.
    for window, last, normalisation, again in (
        (5, 1, 0.5, 1),
        (5, 1, 1.0, None),
        (5, 2, 1.0, 20),
        (5, 20, 1.0, None),
        (5, 1, 1.0, None),
        (1, 2, 1.0, 2),
    ):
        settings = Neighbourhood(window=window, last=last, normalisation=normalisation)
        all_scores = ndcg_of_all_scores(settings, shop, False)
        assert measure.ndcg_of(settings) == pytest.approx(all_scores.mean(), abs=1e-12)
        expected += [ends[again]] if again else []
        assert counted == expected
    assert len(ends[1]) < len(ends[2]) < len(ends[20])
