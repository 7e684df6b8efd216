from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.semantic_ids.quantizers.sinkhorn import balanced_assignment, transport_plan


def test_transport_plan_against_plain_scaling() -> None:
    """The textbook iteration u = a / Kv, v = b / K'u on the kernel itself, where nothing underflows."""
    cost = np.random.default_rng(0).random((6, 4))
    scaled = (2 * cost - cost.max() - cost.min()) / (cost.max() - cost.min())
    kernel = np.exp(-scaled / 0.5)
    rows = np.ones(6)
    for _ in range(200):
        columns = (6 / 4) / (kernel.T @ rows)
        rows = 1 / (kernel @ columns)
    expected = rows[:, None] * kernel * columns[None]
    plan = np.exp(transport_plan(cost, epsilon=0.5, iterations=200))
    np.testing.assert_allclose(plan, expected, atol=1e-8)
    np.testing.assert_allclose(plan.sum(axis=0), 1.5, atol=1e-6)


def test_balanced_assignment_spreads_what_the_nearest_code_would_not() -> None:
    rng = np.random.default_rng(0)
    cost = np.abs(rng.random((40, 1)) - np.linspace(0, 4, 8)[None])
    assert len(np.unique(cost.argmin(axis=1))) <= 3
    assert len(np.unique(balanced_assignment(cost))) >= 6
    assert balanced_assignment(np.ones((3, 2))).shape == (3,)


@settings(max_examples=25)
@given(n=st.integers(1, 20), size=st.integers(1, 8), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 9))
def test_each_item_has_mass_one_on_any_scale_of_costs(n: int, size: int, scale: float, seed: int) -> None:
    cost = np.random.default_rng(seed).random((n, size))
    plan = transport_plan(cost, epsilon=0.05)
    np.testing.assert_allclose(np.exp(plan).sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(np.exp(transport_plan(cost * scale + 3, epsilon=0.05)), np.exp(plan), atol=1e-6)


def test_a_small_epsilon_gives_the_cheapest_balanced_assignment() -> None:
    from scipy.optimize import linear_sum_assignment

    cost = np.random.default_rng(3).random((6, 6))  # as many items as codes: balanced means one item a code
    codes = balanced_assignment(cost, epsilon=0.01, iterations=2000)
    np.testing.assert_array_equal(codes, linear_sum_assignment(cost)[1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_equal_costs(shape: tuple[int, int]) -> None:
    plan = np.exp(transport_plan(np.ones(shape)))
    np.testing.assert_allclose(plan, 1 / shape[1])
