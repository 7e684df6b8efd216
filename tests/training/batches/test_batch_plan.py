"""The plan of batches, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.training.batches.batch_plan import BatchPlan, SharedPlan, batches_of_an_epoch


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(5, 90), st.integers(1, 9)), min_size=1, max_size=200), st.integers(1, 30))
def test_an_epoch_has_every_example_once(sizes: list[tuple[int, int]], size: int) -> None:
    lengths, targets = (np.array(column) for column in zip(*sizes, strict=True))
    found = batches_of_an_epoch(lengths, targets, size, np.random.default_rng(0))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(sizes)))
    for batch in found:
        assert len(batch) == 1 or targets[batch].sum() <= size


def test_batches_hold_similar_lengths() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 500, size=5000)
    ones = np.ones(5000, np.int64)
    batches = batches_of_an_epoch(lengths, ones, 32, rng)
    assert [len(batch) for batch in batches].count(32) >= 5000 // 32 - 1
    padded = sum(lengths[batch].max() * len(batch) for batch in batches)
    assert padded < 1.05 * lengths.sum()


def plan(n: int = 10, **more: object) -> BatchPlan:
    fields = {"size": 3, "epochs": 2.0, "max_steps": None, "seed": 0, **more}
    return BatchPlan([20] * n, [1] * n, **fields)  # type: ignore[arg-type]


def test_plan_counts_epochs_and_steps() -> None:
    assert len(plan()) == 8 and plan().epochs == 2
    assert len(plan(epochs=0.5)) == 2
    assert len(plan(max_steps=21)) == 21
    assert list(plan()) == list(plan()) != list(plan(seed=1))
    first, second = list(plan())[:4], list(plan())[4:]
    assert all(sorted(n for batch in half for n in batch) == list(range(10)) for half in (first, second))
    assert first != second


@pytest.mark.parametrize("max_steps", [None, 3])
def test_processes_share_the_plan_and_lose_nothing(max_steps: int | None) -> None:
    whole = list(plan(max_steps=None if max_steps is None else 3 * max_steps, epochs=1.0))
    parts = [list(plan(world=3, rank=rank, max_steps=max_steps, epochs=1.0)) for rank in range(3)]
    assert len({len(part) for part in parts}) == 1
    together = [batch for batches in zip(*parts, strict=True) for batch in batches]
    assert together[: len(whole)] == whole
    assert all(batch in whole for batch in together)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5))
def test_shares_of_a_global_batch_make_up_the_batch(count: int, size: int, world: int) -> None:
    whole = plan(count, size=size)
    shares = [SharedPlan(whole, world, rank) for rank in range(world)]
    assert {len(share) for share in shares} == {len(whole)}
    for batch, *parts in zip(whole, *shares, strict=True):
        assert sorted(number for part in parts for number in part) == sorted(batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
