"""The study's own arithmetic (tests/benchmarks/study); the study itself takes hours."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

STUDY = Path(__file__).parent / "benchmarks" / "study"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The modules `best` and `report`, which are scripts in a folder of their own."""
    monkeypatch.syspath_prepend(str(STUDY))
    return importlib.import_module("best"), importlib.import_module("report")


def write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def test_the_best_rate_is_of_this_method_alone(study: tuple[Any, Any], tmp_path: Path) -> None:
    for name, value in {"gti-3e-3": 0.1, "gti-1e-3": 0.1, "gti-1e-2": 0.05, "gti-text-5e-4": 0.9}.items():
        write(tmp_path / "tuned" / f"tune-{name}.json", {"metrics": {"valid_ndcg@10": value}})
    assert study[0].best_rate(tmp_path, "gti") == "1e-3"
    assert study[0].best_rate(tmp_path, "gti-text") == "5e-4"
    with pytest.raises(SystemExit, match="no run of mean"):
        study[0].best_rate(tmp_path, "mean")


def test_more_steps_fill_the_time_of_both(study: tuple[Any, Any], tmp_path: Path) -> None:
    write(tmp_path / "runs" / "mean-e1-s0.json", {"counts": {"steps": 100}, "run": {"seconds": 50.0}})
    write(tmp_path / "start-gti" / "gti.json", {"run": {"seconds": 25.0}})
    assert study[0].more_steps(tmp_path, "mean-e1-s0", "start-gti") == 150


def test_the_interval_of_a_difference_covers_users_and_seeds(study: tuple[Any, Any]) -> None:
    rng = np.random.default_rng(0)
    base = rng.random((1, 400))
    same, low, high = study[1].difference(base, base)
    assert same == low == high == 0
    shifted, low, high = study[1].difference(base + 0.1, base)
    assert shifted == pytest.approx(0.1) and low == pytest.approx(0.1) and high == pytest.approx(0.1)
    # Seeds that differ widen it, however many users there are.
    two = np.concatenate([base, base + 0.2])
    middle, low, high = study[1].difference(two, base)
    assert middle == pytest.approx(0.1) and low == pytest.approx(0.0) and high == pytest.approx(0.2)
    # Independent users: as wide as the normal approximation.
    one, other = rng.random((1, 400)), rng.random((1, 400))
    found, low, high = study[1].difference(one, other)
    error = float((one - other).std() / np.sqrt(400))
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1) and low < found < high
