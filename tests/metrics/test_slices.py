"""Slices against a loop over users."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.evaluation.evaluate import evaluate
from gti_cli.metrics.slices import HISTORY_LENGTH, TARGET_SEEN, slice_means, user_slices
from gti_cli.tables.histories import History
from tests.support.evaluation import make_world


def test_bins_by_hand() -> None:
    train = {"a": ["x"] * 3, "b": ["y"] * 150 + ["x"], "c": ["w"] * 5}
    entries = [
        History("a", ["x"], "new"),
        History("b", ["x"] * 3, "x"),
        History("c", ["x"] * 30, "y"),
        History("d", ["x"] * 10, "w"),
    ]
    found = {
        name: {label: np.flatnonzero(mask).tolist() for label, mask in bins.items()}
        for name, bins in user_slices(entries, train).items()
    }
    assert found == {
        "target_training_interactions": {"0": [0], "1-4": [1], "5-19": [3], "100+": [2]},
        "history_length": {"1-2": [0], "3-5": [1], "6-10": [3], "21+": [2]},
    }


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
