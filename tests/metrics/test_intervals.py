"""Intervals and p-values against scipy, and against what they must do on known data."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from gti_cli.metrics import intervals as module
from gti_cli.metrics.intervals import bounds, differences, intervals


def names(count: int) -> list[str]:
    return [f"u{n}" for n in range(count)]


def test_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).beta(0.3, 2, 400)
    low, high = intervals({"recall@10": values}, names(400), resamples=4000)["recall@10"]
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", random_state=np.random.default_rng(1)
    ).confidence_interval
    assert low == pytest.approx(expected.low, abs=0.002) and high == pytest.approx(expected.high, abs=0.002)


def test_a_user_with_many_targets_is_drawn_whole() -> None:
    # Ten users with ten equal values each: as unsure as ten values, not as a hundred.
    rng = np.random.default_rng(3)
    each = rng.random(10)
    repeated = np.repeat(each, 10)
    users = [name for name in names(10) for _ in range(10)]
    assert intervals({"m": repeated}, users)["m"] == pytest.approx(intervals({"m": each}, names(10))["m"])


@pytest.mark.parametrize("cells", [7, 60, 100, 4_000_000])  # 60: pieces of 3, and 50 is no multiple of 3
def test_chunks_change_nothing(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"a": np.random.default_rng(0).random(20), "b": np.random.default_rng(1).random(20)}
    whole = intervals(values, names(20), seed=5, resamples=50)
    monkeypatch.setattr(module, "_CELLS", cells)
    again = intervals(values, names(20), seed=5, resamples=50)
    assert all(again[name] == pytest.approx(whole[name]) for name in values)


def test_p_value_agrees_with_all_sign_flips() -> None:
    rng = np.random.default_rng(2)
    mine, other = rng.random(9) + 0.25, rng.random(9)
    gaps = mine - other
    flips = np.array(list(itertools.product([-1, 1], repeat=9)))
    exact = np.mean(np.abs(flips @ gaps) >= abs(gaps.sum()) - 1e-12)
    found = differences({"m": mine}, {"m": other}, names(9), permutations=20_000)["m"]
    assert found.p == pytest.approx(exact, abs=0.01)
    assert found.difference == pytest.approx(gaps.mean())
    assert found.low <= found.difference <= found.high


def test_p_value_agrees_with_scipy() -> None:
    rng = np.random.default_rng(4)
    mine, other = (rng.random(60) < 0.4).astype(float), (rng.random(60) < 0.25).astype(float)
    expected = stats.permutation_test(
        (mine, other),
        lambda a, b: np.mean(a - b),
        permutation_type="samples",
        n_resamples=9999,
        random_state=np.random.default_rng(0),
    ).pvalue
    assert differences({"m": mine}, {"m": other}, names(60))["m"].p == pytest.approx(expected, abs=0.02)


def test_equal_methods_do_not_differ() -> None:
    values = {"m": np.random.default_rng(0).random(50)}
    found = differences(values, values, names(50))["m"]
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_only_common_metrics_are_compared() -> None:
    ones = np.ones(4)
    assert set(differences({"a": ones, "b": ones}, {"b": ones, "c": ones}, names(4))) == {"b"}


def test_every_user_can_be_drawn() -> None:
    for user in range(3):
        _, high = intervals({"m": np.eye(3)[user]}, names(3))["m"]
        assert high > 0


def test_same_seed_same_numbers() -> None:
    rng = np.random.default_rng(6)
    mine, other = ({"m": rng.random(30)} for _ in range(2))
    found = differences(mine, other, names(30))
    assert found == differences(mine, other, names(30), seed=0)
    assert found != differences(mine, other, names(30), seed=1)
    assert intervals(mine, names(30)) == intervals(mine, names(30), seed=0) != intervals(mine, names(30), seed=1)


def test_bounds_are_the_intervals_of_users_for_json() -> None:
    values, users = {"m": np.array([0.0, 1.0, 0.5])}, ["u", "u", "v"]
    assert bounds(values, users) == {"m": list(intervals(values, users)["m"])}


def test_interval_of_a_difference_is_that_of_the_gaps() -> None:
    rng = np.random.default_rng(7)
    mine, other = rng.random(25), rng.random(25)
    found = differences({"m": mine}, {"m": other}, names(25), seed=3, resamples=40)["m"]
    assert (found.low, found.high) == intervals({"m": mine - other}, names(25), seed=3, resamples=40)["m"]


@pytest.mark.parametrize("cells", [20, 4_000_000])
def test_each_metric_has_the_p_value_of_its_own_flips(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CELLS", cells)  # 20: two flips at a time
    rng = np.random.default_rng(8)
    mine = {"near": rng.random(8), "far": rng.random(8) + 1}
    other = {"near": rng.random(8), "far": rng.random(8)}
    flips = np.array(list(itertools.product([-1, 1], repeat=8)))
    for name, found in differences(mine, other, names(8), permutations=9_999).items():
        gaps = mine[name] - other[name]
        exact = np.mean(np.abs(flips @ gaps) >= abs(gaps.sum()) - 1e-12)
        assert found.p == pytest.approx(exact, abs=0.02)
