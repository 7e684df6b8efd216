"""The scripts of the study (tests/benchmarks/study): choice of rates, collected runs, intervals. No training."""

from __future__ import annotations

import importlib
import json
import re
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gti_cli.tables.histories import read_interactions, split

STUDY = Path(__file__).parent / "benchmarks" / "study"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The modules `best` and `report`, which are scripts and no part of a package."""
    monkeypatch.syspath_prepend(str(STUDY))
    return importlib.import_module("best"), importlib.import_module("report")


def write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def test_the_best_rate_is_chosen_among_this_methods_runs(study: tuple[Any, Any], tmp_path: Path) -> None:
    for name, value in {"gti-3e-3": 0.1, "gti-1e-3": 0.1, "gti-1e-2": 0.05, "gti-text-5e-4": 0.9}.items():
        write(tmp_path / "tuned" / f"tune-{name}.json", {"metrics": {"valid_ndcg@10": value}})
    assert study[0].best_rate(tmp_path, "gti") == "1e-3"
    assert study[0].best_rate(tmp_path, "gti-text") == "5e-4"
    with pytest.raises(SystemExit, match="no run of mean"):
        study[0].best_rate(tmp_path, "mean")


def test_more_steps_fill_the_time_of_both(study: tuple[Any, Any], tmp_path: Path) -> None:
    write(tmp_path / "runs" / "mean-e1-s0.json", {"counts": {"steps": 100}, "run": {"seconds": 50.0}})
    write(tmp_path / "start-gti" / "gti.json", {"run": {"seconds": 25.0}})
    assert study[0].more_steps(tmp_path, "mean-e1-s0") == 100
    assert study[0].more_steps(tmp_path, "mean-e1-s0", "start-gti") == 150
    with pytest.raises(SystemExit, match="no such run"):
        study[0].more_steps(tmp_path, "mean-e3-s0")


def test_time_is_processor_time_on_a_cpu_and_wall_time_elsewhere(study: tuple[Any, Any]) -> None:
    run = {"seconds": 9.0, "processor_seconds": 5.0}
    assert study[0].seconds({"run": {**run, "device": "cpu (1 threads)"}}) == 5
    assert study[0].seconds({"run": {**run, "device": "NVIDIA H100"}}) == 9
    assert study[0].seconds({"run": {"seconds": 9.0, "device": "cpu"}}) == 9  # a manifest without processor time


def test_the_rate_of_the_rows_is_the_one_they_trained_at(study: tuple[Any, Any]) -> None:
    metrics = {"rows_learning_rate": 7e-3}
    assert study[1].rows_rate({"options": {"rows_learning_rate": "auto"}, "metrics": metrics}) == 7e-3
    assert study[1].rows_rate({"options": {"rows_learning_rate": 3e-3}, "metrics": metrics}) == 3e-3


def finished(folder: Path, run: str, hits: list[float], seconds: float = 10.0) -> None:
    """Write the files that a measured run leaves in a study's folder."""
    slices = {"0": (1, 0.5), "1-4": (2, 0.25), "5-19": (3, 0.2), "20+": (1, 0.6)}
    found = {name: {"targets": count, "recall@10": value} for name, (count, value) in slices.items()}
    columns = dict.fromkeys(("recall@10", "recall@20", "ndcg@10"), hits)
    (folder / "evaluation" / run).mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "evaluation" / run / "per_user.parquet")
    metrics = {
        "slices": {"target_training_interactions": found},
        "baselines": {"popularity": dict.fromkeys(columns, 0.1)},
    }
    write(folder / "evaluation" / run / "metrics.json", metrics)
    write(folder / "diagnostics" / run / "metrics.json", {run: {"effective_rank": 3.0, "rsa_spearman": None}})
    write(folder / "language" / f"{run}.json", {"ordinary_nats": 2.0, "items_nats": 1.0})
    manifest = {"options": {"rows_learning_rate": 3e-3}, "counts": {"steps": 7}, "run": {"seconds": seconds}}
    write(folder / "runs" / f"{run}.json", manifest)


def test_folders_of_one_study_count_as_one_and_grounding_counts_as_training(
    study: tuple[Any, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    finished(one, "mean-e1-s0", [0.0, 1.0])
    finished(one, "mean-plain-e1-s0", [0.0, 0.0])
    finished(other, "mean-e1-s0", [1.0, 1.0])  # the same run in a copy of the folder counts once
    finished(other, "mean-e1-s1", [0.0, 0.0])
    finished(other, "gti-lc-rec-e1-s0", [1.0, 1.0], seconds=20.0)
    write(other / "start-gti" / "gti.json", {"run": {"seconds": 5.0}})
    write(other / "diagnostics" / "start-gti" / "metrics.json", {"start-gti": {"effective_rank": 2.0}})
    study[1].main([one, other])
    lines = {line.split(" | ")[0][2:]: line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")}
    assert (one / "curves.png").is_file() and (one / "report.md").is_file()
    report = (one / "report.md").read_text()
    assert "| mean | 2 | 0.003 | 7 | 10 | 0.2500 ±0.3536 |" in report
    assert "| gti-lc-rec | 1 | 0.003 | 7 | 25 | 1.0000 | 1.0000 | 1.0000 | +0.7500 [" in report
    # Slices: items without training interactions, with 1 to 4, and the two higher slices weighted by their targets.
    assert "| 2 -> 3.0000 | – -> – | 0.5000 | 0.2500 | 0.3000 |" in report
    assert set(lines) >= {"mean", "mean-plain", "gti-lc-rec"}


def test_the_interval_of_a_difference_covers_users_and_seeds(study: tuple[Any, Any]) -> None:
    rng = np.random.default_rng(0)
    base = rng.random((1, 400))
    same, low, high = study[1].difference(base, base)
    assert same == low == high == 0
    shifted, low, high = study[1].difference(base + 0.1, base)
    assert shifted == pytest.approx(0.1) and low == pytest.approx(0.1) and high == pytest.approx(0.1)
    # Different seeds widen the interval, whatever the number of users.
    two = np.concatenate([base, base + 0.2])
    middle, low, high = study[1].difference(two, base)
    assert middle == pytest.approx(0.1) and low == pytest.approx(0.0) and high == pytest.approx(0.2)
    # With independent users the width is that of the normal approximation.
    one, other = rng.random((1, 400)), rng.random((1, 400))
    found, low, high = study[1].difference(one, other)
    error = float((one - other).std() / np.sqrt(400))
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1) and low < found < high


def test_rank_correlation_of_few_values_counts_every_order(study: tuple[Any, Any]) -> None:
    assert study[1].rank_correlation([1, 2, 3, 4], [2, 4, 6, 8]) == pytest.approx((1, 2 / 24))
    rho, p = study[1].rank_correlation([1, 2, 3, 4, 5], [2, 1, 4, 3, 5])
    squares = [sum((a - b) ** 2 for a, b in zip(order, range(5), strict=True)) for order in permutations(range(5))]
    rhos = [1 - 6 * square / (5 * 24) for square in squares]
    assert rho == pytest.approx(0.8)
    assert p == pytest.approx(np.mean([abs(found) >= 0.8 - 1e-9 for found in rhos]))


def test_a_share_of_the_users_trains_and_all_are_evaluated(study: tuple[Any, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [(f"u{u}", f"i{rng.integers(9)}", t) for u in range(40) for t in range(int(rng.integers(1, 9)))]
    (tmp_path / "shop").mkdir()
    columns = dict(zip(("user_id", "item_id", "timestamp"), zip(*rows, strict=True), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "shop" / "interactions.parquet")
    pq.write_table(pa.table({"item_id": [f"i{n}" for n in range(9)]}), tmp_path / "shop" / "items.parquet")
    known = {f"i{n}" for n in range(9)}
    whole, parts = split(read_interactions(tmp_path / "shop" / "interactions.parquet", known)), []
    for share in (0.1, 0.3, 1.0):
        importlib.import_module("subset").main(tmp_path / "shop", share, tmp_path / str(share))
        parts.append(split(read_interactions(tmp_path / str(share) / "interactions.parquet", known)))
    for part, users in zip(parts, (4, 12, 40), strict=True):
        assert part.test == whole.test
        assert len(part.train) <= users and all(part.train[user] == whole.train[user] for user in part.train)
        assert {(e.user_id, len(e.items)) for e in part.valid} >= {(e.user_id, len(e.items)) for e in whole.valid}
    assert set(parts[0].train) < set(parts[1].train) < set(parts[2].train) and parts[2] == whole


def test_solvers_are_set_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(STUDY))
    solvers = importlib.import_module("solvers")
    for name, loss, found in (("gradient-10-s0", 3.5, 0.1), ("gradient-3-s0", 4.0, 0.2), ("gradient-3-s1", 5.0, 0.4)):
        metrics = {"held_out_loss": loss, "retrieval@1": 0.0, "retrieval@10": found}
        run = {"seconds": 9.0, "processor_seconds": 60.0, "peak_memory_bytes": 2**30}
        write(tmp_path / name / "gti.json", {"metrics": metrics, "run": run})
        write(tmp_path / "losses" / f"{name}.json", [loss - 1, loss + 1])
    found_by_user = {"gradient-3": (0.0, 1.0, 0.0, 0.0), "regression-0": (1.0, 1.0, 0.0, 0.0)}
    for name, found in [*found_by_user.items(), ("gradient-10", None)]:
        write(tmp_path / f"tuned-{name}-s1-e3" / "gti.json", {"run": {"seconds": 7.0}})
        if found is not None:  # the last one is not evaluated yet
            path = tmp_path / "evaluation" / f"tuned-{name}-s1-e3" / "per_user.parquet"
            path.parent.mkdir(parents=True)
            pq.write_table(pa.table(dict.fromkeys(("recall@10", "recall@20", "ndcg@10"), found)), path)
    solvers.main(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    expected = "| gradient-3 | 2 | 60 ±0 | 1024 ±0 | 4.50 ±0.71 | 0.000 ±0.000 | 0.300 ±0.141 | 3.50 5.50 |"
    assert lines[2:4] == [expected, "| gradient-10 | 1 | 60 | 1024 | 3.50 | 0.000 | 0.100 | 2.50 4.50 |"]
    # Among four users one is found more: no interval of drawn users goes below none, nor above all four.
    assert len(lines) == 9
    assert re.fullmatch(
        r"\| gradient-3 \| 3 \| 1 \| 7 \| 0.2500 \| 0.2500 \| 0.2500 (\| \+0.2500 \[\+0.0000, \+0.\d+\] ){3}\|",
        lines[-2],
    )
    assert lines[-1] == "| regression-0 | 3 | 1 | 7 | 0.5000 | 0.5000 | 0.5000 | – | – | – |"
