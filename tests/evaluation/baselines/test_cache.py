"""Baselines that are kept: the same to the last bit, made again where anything differs or nothing can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gti_cli.evaluation.baselines.cache import Measured, keep, known, path_of, plain


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    found = {
        name: Measured(
            {"recall@5": 0.1 + 0.2, "mrr": 1 / 3, "coverage@5": 0.5}, {m: rng.random(7) for m in ("recall@5", "mrr")}
        )
        for name in ("item-knn (untuned)", "item-knn")
    }
    path = path_of(tmp_path / "new", "item-knn", ["asked"])
    assert known(path) is None
    keep(path, found, {"chosen": {"decay": 0.7}})
    again, report = known(path) or ({}, None)
    assert list(again) == list(found) and report == {"chosen": {"decay": 0.7}}
    for name, one in found.items():
        assert again[name].metrics == one.metrics and list(again[name].values) == list(one.values)
        for metric, column in one.values.items():
            np.testing.assert_array_equal(again[name].values[metric], column)
    assert not list(path.parent.glob("*.part"))
    path.write_bytes(path.read_bytes()[:-9])
    assert known(path) is None


def test_another_question_is_kept_elsewhere(tmp_path: Path) -> None:
    paths = {path_of(tmp_path, name, asked) for name in ("a", "b") for asked in ([1], [2], [[1]], ["1"])}
    assert len(paths) == 8


@pytest.mark.parametrize(("name", "file"), [("item-knn (untuned)", "item-knn-untuned"), ("bm25", "bm25")])
def test_names_that_files_can_have(name: str, file: str) -> None:
    assert plain(name) == file
