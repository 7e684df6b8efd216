from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.training import rows_learning_rate as module
from gti_cli.training.rows_learning_rate import STEP_SHARE, default_rows_rate, measure_reach, rms_difference


@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 99))
def test_spread_is_that_of_all_pairs(n: int, width: int, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((n, width)) + 3
    squares = [np.mean((rows[a] - rows[b]) ** 2) for a, b in itertools.combinations(range(n), 2)]
    assert rms_difference(rows) == pytest.approx(np.sqrt(np.mean(squares)))


def test_collapsed_rows_are_stuck_only_where_the_rate_is_too_small(capsys: Any) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((300, 16)).astype(np.float32)
    new = np.arange(250, 300)
    apart = measure_reach(weight, new, 0.01, 300)
    assert apart.rank > 10 and not apart.stuck
    weight[new] = weight[:250].mean(axis=0) + 1e-6 * rng.standard_normal((50, 16))
    stuck, able = measure_reach(weight, new, 0.01, 300), measure_reach(weight, new, 3.0, 300)
    assert stuck.rank == pytest.approx(1, abs=0.01) and stuck.stuck and not able.stuck
    assert stuck.spread == pytest.approx(np.sqrt(2), rel=0.1)
    assert able.ratio == pytest.approx(3 / able.spread)
    stuck.print_summary(10)
    able.print_summary(10)
    assert capsys.readouterr().err.count("warning:") == 1
    assert set(stuck.metrics()) >= {"rows_travel_ratio", "new_rows_effective_rank"}


def test_one_new_row_and_many_old_ones(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "_SAMPLE", 7)
    weight = np.random.default_rng(0).standard_normal((100, 4))
    found = measure_reach(weight, np.array([99]), 0.0, 100)
    assert found.new_spread == 0 and found.ratio == 0 and found.spread > 0
    assert rms_difference(np.ones((5, 3))) == 0


@given(st.floats(1e-3, 1e3), st.integers(0, 99))
def test_the_default_rate_follows_the_scale_of_the_old_rows_alone(scale: float, seed: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((40, 6))
    new = np.array([3, 39])
    pairs = itertools.combinations(np.delete(np.arange(40), new), 2)
    wanted = STEP_SHARE * np.sqrt(np.mean([(weight[a] - weight[b]) ** 2 for a, b in pairs]))
    weight[new] += 100
    found = default_rows_rate(torch.from_numpy(scale * weight), new, 40, "--rate")
    assert found == pytest.approx(scale * wanted)
    # Rows in reserve, behind the tokenizer's last token, are no pretrained ones.
    padded = np.concatenate([scale * weight, np.full((9, 6), np.nan)])
    assert default_rows_rate(torch.from_numpy(padded), new, 40, "--rate") == found
    assert measure_reach(padded, new, 1.0, 40) == measure_reach(scale * weight, new, 1.0, 99)


@pytest.mark.parametrize(("value", "why"), [(np.nan, "hold NaN or infinity"), (np.inf, "hold NaN"), (3.0, "all equal")])
def test_unusable_rows_give_no_rate(value: float, why: str) -> None:
    weight = torch.full((40, 6), value)
    with pytest.raises(InputError, match=f"{why}.*Give --rate"), np.errstate(invalid="ignore"):
        default_rows_rate(weight, np.array([39]), 40, "--rate")
