"""Cached results of baselines: the same to the last bit, and computed again where anything differs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gti_cli.baselines.cache import cache_path, load_results, store_results
from gti_cli.baselines.results import BaselineResult


def test_stored_results_are_read_bit_by_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stored = {
        name: BaselineResult(
            {"recall@5": 0.1 + 0.2, "mrr": 1 / 3, "coverage@5": 0.5}, {m: rng.random(7) for m in ("recall@5", "mrr")}
        )
        for name in ("item-knn (untuned)", "item-knn")
    }
    path = cache_path(tmp_path / "new", "item-knn", ["key"])
    assert load_results(path) is None
    store_results(path, stored, {"chosen": {"decay": 0.7}})
    loaded, report = load_results(path) or ({}, None)
    assert list(loaded) == list(stored) and report == {"chosen": {"decay": 0.7}}
    for name, result in stored.items():
        assert loaded[name].metrics == result.metrics and list(loaded[name].values) == list(result.values)
        for metric, column in result.values.items():
            np.testing.assert_array_equal(loaded[name].values[metric], column)
    assert not list(path.parent.glob("*.part"))
    path.write_bytes(path.read_bytes()[:-9])
    assert load_results(path) is None


def test_another_name_or_key_is_another_file(tmp_path: Path) -> None:
    paths = {cache_path(tmp_path, name, key) for name in ("a", "b") for key in ([1], [2], [[1]], ["1"])}
    assert len(paths) == 8
