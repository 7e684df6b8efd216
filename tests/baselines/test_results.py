"""Tables of baselines: their names and their columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gti_cli.baselines.results import (
    BaselineResult,
    baseline_table_path,
    file_stem,
    write_baseline_tables,
)


@pytest.mark.parametrize(("name", "stem"), [("item-knn (untuned)", "item-knn-untuned"), ("bm25", "bm25")])
def test_names_become_file_names(name: str, stem: str) -> None:
    assert file_stem(name) == stem


def test_tables_have_keys_first_and_then_values(tmp_path: Path) -> None:
    values = {"recall@5": np.asarray([1.0, 0.0]), "mrr": np.asarray([0.5, 0.25])}
    results = {
        "item-knn (untuned)": BaselineResult({"coverage@5": 0.5}, values),
        "popularity": BaselineResult({}, values),
    }
    write_baseline_tables(tmp_path, {"user_id": ["a", "b"]}, results)
    assert {path.name for path in (tmp_path / "baselines").iterdir()} == {
        "item-knn-untuned.parquet",
        "popularity.parquet",
    }
    table = pq.read_table(baseline_table_path(tmp_path, "item-knn (untuned)"))
    assert table.to_pydict() == {"user_id": ["a", "b"], "recall@5": [1.0, 0.0], "mrr": [0.5, 0.25]}
    assert table.column_names == ["user_id", "recall@5", "mrr"]


def test_no_baselines_no_folder(tmp_path: Path) -> None:
    write_baseline_tables(tmp_path, {"user_id": ["a"]}, {})
    assert not (tmp_path / "baselines").exists()
