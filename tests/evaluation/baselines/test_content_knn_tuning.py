"""The tuning of content-knn: the settings that it chooses, and what it does with a large catalogue."""

from __future__ import annotations

import numpy as np
import pytest

from gti_cli.evaluation.baselines import content_knn_tuning
from gti_cli.evaluation.baselines.base import target_ranks
from gti_cli.evaluation.baselines.content_knn import ContentKNN, ItemSpace, Spread
from gti_cli.evaluation.baselines.content_knn_tuning import tune_content_knn
from gti_cli.evaluation.baselines.setting_search import TuningOutcome
from gti_cli.evaluation.metrics.ranking import ndcg_at
from gti_cli.tables.histories import History

CATALOGUE = 60
ROW_OF = {f"i{row}": row for row in range(CATALOGUE)}


def pairs() -> tuple[np.ndarray, list[History]]:
    """Item 2 n + 1 is nearest to item 2 n, in directions that are small beside one common to all; it comes next."""
    rng = np.random.default_rng(3)
    vectors = np.repeat(rng.normal(size=(CATALOGUE // 2, 8)), 2, axis=0) + 0.4 * rng.normal(size=(CATALOGUE, 8))
    vectors[:, 0] = 30 + 3 * rng.normal(size=CATALOGUE)  # A large direction that says nothing.
    held_out = []
    for user in range(80):
        first = 2 * (user % (CATALOGUE // 2))
        others = [f"i{row}" for row in rng.integers(0, CATALOGUE, 3)]
        held_out.append(History(f"u{user}", [*others, f"i{first}"], f"i{first + 1}"))
    return vectors.astype(np.float32), held_out


def tuned(vectors: np.ndarray, held_out: list[History]) -> TuningOutcome:  # type: ignore[type-arg]
    return tune_content_knn(vectors, Spread.measure(vectors), held_out, ROW_OF, filter_seen=False)


def test_tuning_gets_better_and_says_what_it_chose() -> None:
    vectors, held_out = pairs()
    outcome = tuned(vectors, held_out)
    best = outcome.best
    assert outcome.ndcg > outcome.untuned_ndcg + 0.1
    assert best.whitening > 0 and best.repeats == 0 and (best.last == 1 or best.decay < 0.4)
    space = ItemSpace(vectors, Spread.measure(vectors), centring=best.centring, whitening=best.whitening)
    histories = [[ROW_OF[item] for item in entry.items] for entry in held_out]
    targets = [ROW_OF[entry.target] for entry in held_out]
    ranks = target_ranks(ContentKNN(space, best).scores(histories), histories, targets, filter_seen=False)
    assert ndcg_at(ranks, 10).mean() == pytest.approx(outcome.ndcg)
    report = outcome.report()
    assert report["chosen"]["whitening"] == best.whitening and report["items_ranked"] == CATALOGUE
    assert report["grid"]["last"][0] == 1 and report["settings_tried"] == outcome.tried > 15


def test_a_large_catalogue_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, held_out = pairs()
    monkeypatch.setattr(content_knn_tuning, "ITEMS", 20)
    monkeypatch.setattr(content_knn_tuning, "CELLS", 100)
    monkeypatch.setattr(content_knn_tuning, "FEWEST_TARGETS", 8)
    outcome = tuned(vectors, held_out)
    assert (outcome.targets, outcome.held_out) == (8, 80) and 20 < outcome.items < CATALOGUE  # type: ignore[operator]


def test_a_cut_catalogue_keeps_targets_and_the_ends_of_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = pairs()
    monkeypatch.setattr(content_knn_tuning, "ITEMS", 2)
    monkeypatch.setattr(content_knn_tuning, "GRID", {**content_knn_tuning.GRID, "last": (1, 2)})
    kept, histories, targets = content_knn_tuning._cut_catalogue(vectors, [[7, 9, 20], [30]], [4, 20])
    assert kept.tolist() == vectors[[0, 4, 9, 20, 30, 59]].tolist()
    assert histories == [[2, 3], [4]] and targets == [1, 3]
