"""content-knn against its definition as a loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gti_cli.baselines import content_knn
from gti_cli.baselines.base import Candidates, rank_all_items, target_ranks
from gti_cli.baselines.content_knn import ContentKNN, ContentNeighbourhood, ItemSpace, Spread
from gti_cli.baselines.ranking.top_columns import top_columns
from gti_cli.tables.histories import History
from gti_cli.tensors.vector_file import VectorFile, write_vectors
from tests.support.baselines import ITEMS, ROW_OF, item_vectors

SETTINGS = (
    ContentNeighbourhood(),
    ContentNeighbourhood(last=2, decay=1.0, centring=1.0, whitening=0.5, repeats=0),
    ContentNeighbourhood(last=50, decay=0.3, centring=0.5, whitening=1.0),
)
HISTORIES = [[0], [1, 2, 3], [5, 5, 1, 0, 2, 7, 9, 3], [14, 4]]


def model(vectors: object, settings: ContentNeighbourhood) -> ContentKNN:
    spread = Spread.measure(vectors)  # type: ignore[arg-type]
    space = ItemSpace(vectors, spread, centring=settings.centring, whitening=settings.whitening)  # type: ignore[arg-type]
    return ContentKNN(space, settings)


def loop(vectors: np.ndarray, history: list[int], settings: ContentNeighbourhood) -> np.ndarray:
    """Scores from the definition; the whitening by a symmetric root of the covariance."""
    vectors = vectors.astype(np.float64)
    known = np.linalg.norm(vectors, axis=1) > 0
    units = vectors[known] / np.linalg.norm(vectors[known], axis=1, keepdims=True)
    variances, directions = np.linalg.eigh(np.cov(units.T, bias=True))
    root = directions @ np.diag(variances ** (-settings.whitening / 2)) @ directions.T
    made = np.zeros(vectors.shape)
    made[known] = (units - settings.centring * units.mean(0)) @ root
    scores = np.full(len(vectors), -np.inf)
    for item in range(len(vectors)):
        if not known[item] or (not settings.repeats and item in history):
            continue
        cosines = [
            made[item] @ made[row] / np.linalg.norm(made[item]) / np.linalg.norm(made[row]) if known[row] else 0.0
            for row in history[::-1][: settings.last]
        ]
        scores[item] = sum(settings.decay**back * cosine for back, cosine in enumerate(cosines))
    return scores


@pytest.mark.parametrize("settings", SETTINGS)
def test_scores(settings: ContentNeighbourhood) -> None:
    vectors = item_vectors()
    scores = model(vectors, settings).scores(HISTORIES)
    for history, row in zip(HISTORIES, scores, strict=True):
        np.testing.assert_allclose(row, loop(vectors, history, settings), atol=1e-8)


def test_equal_embeddings_tie_and_unknown_items_are_not_recommended() -> None:
    vectors = item_vectors()
    vectors[6], vectors[11] = 4 * vectors[2], 0
    for settings in SETTINGS:
        scores = model(vectors, settings).scores([[0, 3], [11]])
        assert scores[0, 2] == scores[0, 6]
        assert np.isneginf(scores[0, 11]) and np.isneginf(scores[1]).all()


@pytest.mark.parametrize("filter_seen", [False, True])
@pytest.mark.parametrize("settings", SETTINGS)
def test_a_catalogue_in_blocks_has_the_ranks_of_one_in_memory(
    settings: ContentNeighbourhood, filter_seen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = item_vectors()
    vectors[6] = vectors[2]
    rng = np.random.default_rng(0)
    entries = [
        History("u", [f"i{row}" for row in rng.integers(0, ITEMS, 3)], f"i{rng.integers(ITEMS)}") for _ in range(40)
    ]
    histories = [[ROW_OF[item] for item in entry.items] for entry in entries]
    scores = model(vectors, settings).scores(histories)
    expected = target_ranks(scores, histories, [ROW_OF[entry.target] for entry in entries], filter_seen=filter_seen)
    write_vectors(tmp_path / "e.safetensors", vectors.shape, [vectors])
    monkeypatch.setattr(content_knn, "_ITEMS_AT_ONCE", 4)
    monkeypatch.setattr(content_knn, "_CELLS_KEPT", 0)
    on_disk = model(VectorFile(tmp_path / "e.safetensors"), settings)
    ranks, lists = rank_all_items(on_disk, entries, ROW_OF, filter_seen=filter_seen, k=6)
    assert ranks.ahead.tolist() == expected.ahead.tolist() and ranks.ties.tolist() == expected.ties.tolist()
    assert (ranks.ties > 1).any() and (ranks.ahead < 0).any() == (filter_seen or not settings.repeats)
    assert lists.tolist() == top_columns(scores, 6).tolist()  # `target_ranks` has removed seen items from the scores
    some = Candidates.from_lists([[0, 3, 3], [], [2]])
    np.testing.assert_array_equal(
        on_disk.candidate_scores(histories[:3], some),
        model(vectors, settings).candidate_scores(histories[:3], some),
    )


def test_the_spread_of_a_large_catalogue_is_measured_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_knn, "_SPREAD_AT_MOST", 5)
    vectors = item_vectors()
    of_sample = Spread.measure(vectors)
    np.testing.assert_allclose(of_sample.mean, Spread.measure(vectors[[0, 3, 7, 10, 14]]).mean)
    assert not np.allclose(of_sample.mean, 0)
