"""Slices against a loop over users."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.evaluation.evaluate import evaluate
from gti_cli.metrics.slices import (
    HISTORY_LENGTH,
    TARGET_SEEN,
    good_in_training,
    query_slices,
    slice_means,
    table_slices,
    times_seen,
    user_slices,
)
from gti_cli.tables.histories import History
from gti_cli.tables.queries import Query
from tests.support.evaluation import make_world


def rows_of(slices: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, list[int]]]:
    """The numbers of the rows in each bin."""
    return {
        name: {label: np.flatnonzero(mask).tolist() for label, mask in bins.items()} for name, bins in slices.items()
    }


def test_bins_by_hand() -> None:
    train = {"a": ["x"] * 3, "b": ["y"] * 150 + ["x"], "c": ["w"] * 5}
    entries = [
        History("a", ["x"], "new"),
        History("b", ["x"] * 3, "x"),
        History("c", ["x"] * 30, "y"),
        History("d", ["x"] * 10, "w"),
    ]
    assert rows_of(user_slices(entries, train)) == {
        "target_training_interactions": {"0": [0], "1-4": [1], "5-19": [3], "100+": [2]},
        "history_length": {"1-2": [0], "3-5": [1], "6-10": [3], "21+": [2]},
    }
    seen = times_seen(entries, train)
    assert seen.tolist() == [0, 4, 150, 5] and seen.dtype == np.int32  # which per_user.parquet gets


def test_queries_by_hand() -> None:
    train = [Query("t", "tea", {"a": 2, "b": 1, "c": 2})]
    queries = [
        Query("0", "green", {"a": 2, "b": 2}),  # b is only maybe an item of the training query
        Query("1", "green tea of  spring", {"c": 2, "a": 2, "d": 2, "e": 2, "b": 1}),
        Query("2", "a pot for black tea", {"d": 2, "a": 0}),
    ]
    known = good_in_training(queries, train)
    assert known.tolist() == [1, 2, 0] and known.dtype == np.int32
    expected = {
        "good_items": {"1": [2], "2-3": [0], "4-10": [1]},
        "query_words": {"1": [0], "3-4": [1], "5+": [2]},
        "good_items_good_in_training": {"0": [2], "1": [0], "2-3": [1]},
    }
    assert rows_of(query_slices(queries, train)) == expected
    columns = {
        "query": [query.text for query in queries],
        "good": [len(query.items()) for query in queries],
        "good_items_good_in_training": known,
    }
    assert rows_of(table_slices(pa.table(columns))) == expected


def test_tables_of_users_are_divided_by_the_columns_that_they_have() -> None:
    table = pa.table({"target_training_interactions": [0, 7], "history": [12, 3]})
    expected = {"target_training_interactions": {"0": [0], "5-19": [1]}, "history_length": {"3-5": [1], "11-20": [0]}}
    assert rows_of(table_slices(table)) == expected
    del expected["target_training_interactions"]
    assert rows_of(table_slices(table.select(["history"]))) == expected


@given(st.integers(0, 999), st.integers(1, 60))
def test_every_target_is_in_one_bin_and_bins_average_to_the_whole(seed: int, users: int) -> None:
    rng = np.random.default_rng(seed)
    entries = [History(f"u{n}", ["i"] * int(rng.integers(1, 30)), f"i{rng.integers(40)}") for n in range(users)]
    train = {"t": [f"i{int(n)}" for n in rng.zipf(1.5, 300) if n < 40]}
    values = {"recall@5": rng.random(users), "mrr": rng.random(users)}
    parts = user_slices(entries, train)
    for bins in parts.values():
        assert (sum(mask.astype(int) for mask in bins.values()) == 1).all()
    assert len(parts["target_training_interactions"]) <= len(TARGET_SEEN) + 1
    assert len(parts["history_length"]) <= len(HISTORY_LENGTH) + 1
    for bins in slice_means(values, parts).values():
        assert sum(part["targets"] for part in bins.values()) == users
        for metric, whole in values.items():
            mean = sum(part["targets"] * part[metric] for part in bins.values()) / users
            assert mean == pytest.approx(whole.mean())


def test_written_by_the_stage(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    manifest = evaluate(world.interactions, world.workspace, k=[5])
    written = json.loads((world.workspace / "evaluation/finetuned/metrics.json").read_text())
    for metric, (low, high) in written["intervals"].items():
        assert low <= written["metrics"][metric] <= high
    assert {"recall@5", "ndcg@5", "mrr"} <= set(written["intervals"]) <= set(written["metrics"])
    for bins in written["slices"].values():
        assert sum(part["targets"] for part in bins.values()) == manifest.counts["evaluated"]
