"""Ranks of targets, lists and samples against loops over users."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.baselines.base import (
    Baseline,
    Candidates,
    best_items,
    rank_all_items,
    spread_sample,
    train_counts,
)
from gti_cli.baselines.content_knn import ContentKNN, ContentNeighbourhood, ItemSpace
from gti_cli.baselines.item_knn import ItemKNN
from gti_cli.baselines.popularity import Popularity
from gti_cli.baselines.sasrec import Network, SASRec
from gti_cli.metrics.ranking import recall_at
from gti_cli.tables.histories import History
from tests.support.baselines import ITEMS, ROW_OF, SMALL, item_vectors, random_train


@pytest.mark.parametrize("filter_seen", [False, True])
@pytest.mark.parametrize("kind", [Popularity, ItemKNN])
def test_ranks_and_lists_by_a_loop(kind: type, filter_seen: bool) -> None:
    rng = np.random.default_rng(4)
    entries = [
        History(f"u{n}", [f"i{row}" for row in rng.integers(0, ITEMS, 4)], f"i{rng.integers(ITEMS)}")
        for n in range(300)
    ]
    baseline = kind(random_train(), ROW_OF)
    ranks, lists = rank_all_items(baseline, entries, ROW_OF, filter_seen=filter_seen, k=6)
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


def every_baseline() -> list[Baseline]:
    space = ItemSpace(item_vectors(), None, centring=0, whitening=0)
    torch.manual_seed(0)
    train = random_train()
    return [
        Popularity(train, ROW_OF),
        ItemKNN(train, ROW_OF),
        SASRec(Network(ITEMS, SMALL)),
        ContentKNN(space),
        ContentKNN(space, ContentNeighbourhood(repeats=0)),
    ]


@pytest.mark.parametrize("number", range(5))
def test_candidates_have_the_scores_of_the_whole_catalogue(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gti_cli.baselines.base._USERS_AT_ONCE", 3)
    monkeypatch.setattr("gti_cli.baselines.sasrec._CANDIDATES_AT_ONCE", 5)
    monkeypatch.setattr("gti_cli.baselines.content_knn._ITEMS_AT_ONCE", 4)
    baseline, rng = every_baseline()[number], np.random.default_rng(5)
    histories = [rng.integers(0, ITEMS, 1 + n % 4).tolist() for n in range(10)]
    lists = [rng.integers(0, ITEMS, n % 7).tolist() for n in range(9)] + [list(range(ITEMS))]
    found = baseline.candidate_scores(histories, Candidates.from_lists(lists))
    whole = baseline.scores(histories)
    expected = [whole[user, row] for user, rows in enumerate(lists) for row in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert len(baseline.candidate_scores([], Candidates.from_lists([]))) == 0
    # Nobody has a candidate: nobody at all, nobody among the users who are scored together.
    assert len(baseline.candidate_scores(histories, Candidates.from_lists([[] for _ in histories]))) == 0
    found = baseline.candidate_scores(histories, Candidates.from_lists([[], [], [], *lists[3:]]))
    np.testing.assert_allclose(found, expected[-len(found) :], rtol=1e-5, atol=1e-6)


def test_a_part_of_candidates() -> None:
    candidates = Candidates.from_lists([[4], [], [2, 2, 1], [3]])
    part = candidates.part(1, 3)
    assert part.starts.tolist() == [0, 0, 3] and part.rows.tolist() == [2, 2, 1] and part.owners().tolist() == [1, 1, 1]
    assert candidates.owners().tolist() == [0, 2, 2, 2, 3]


def test_a_large_catalogue_is_scored_for_fewer_users_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [History("u", [f"i{n % ITEMS}"], f"i{n * 7 % ITEMS}") for n in range(20)]
    baseline = SASRec(Network(ITEMS, SMALL))
    ranks, lists = rank_all_items(baseline, entries, ROW_OF, filter_seen=False, k=4)
    scored = []
    monkeypatch.setattr(baseline, "scores", lambda some: scored.append(len(some)) or SASRec.scores(baseline, some))
    monkeypatch.setattr("gti_cli.baselines.base._CELLS_AT_ONCE", 3 * ITEMS + 1)
    again, lists_again = rank_all_items(baseline, entries, ROW_OF, filter_seen=False, k=4)
    assert max(scored) == 3
    assert again.ahead.tolist() == ranks.ahead.tolist() and lists_again.tolist() == lists.tolist()


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_spread_sample_has_even_gaps(count: int, limit: int) -> None:
    entries = [History("u", [], str(n)) for n in range(count)]
    chosen = [int(entry.target) for entry in spread_sample(entries, limit)]
    assert len(chosen) == min(count, limit) and chosen[0] == 0
    gaps = set(np.diff(chosen).tolist())
    assert not gaps or (min(gaps) >= 1 and max(gaps) - min(gaps) <= 1)


def test_training_counts() -> None:
    counts = train_counts({"a": ["i1", "i1"], "b": ["i0", "i1"], "c": []}, {"i0": 0, "i1": 1, "i2": 2})
    assert counts.tolist() == [1, 3, 0]


@pytest.mark.parametrize("filter_seen", [False, True])
def test_best_items_of_all_and_of_some(filter_seen: bool) -> None:
    """Baselines that rank items themselves, and one that makes blocks, against a sort."""
    vectors = item_vectors()
    histories = [[1, 4], [0], [2, 3, 2, 9]]
    allowed = np.arange(ITEMS) % 3 > 0
    train = random_train()
    for baseline in (
        Popularity(train, ROW_OF),
        ItemKNN(train, ROW_OF),
        ContentKNN(ItemSpace(vectors, None, centring=0, whitening=0)),
    ):
        scores = baseline.scores(histories)
        for mask in (None, allowed):
            found = best_items(baseline, histories, ITEMS, filter_seen=filter_seen, k=6, allowed=mask)
            for user, history in enumerate(histories):
                rows = [
                    row
                    for row in range(ITEMS)
                    if np.isfinite(scores[user, row])
                    and (mask is None or mask[row])
                    and not (filter_seen and row in history)
                ]
                expected = sorted(rows, key=lambda row: (-scores[user, row], row))[:6]
                assert found[user].tolist() == expected + [-1] * (6 - len(expected))
