"""Which examples are held out and sampled, and sums over them in one and several processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.grounding.held_out import hold_out, sum_over_batches
from gti_cli.prompts.pair_prompts import Pair

CPU = torch.device("cpu")


@given(st.lists(st.integers(0, 6), min_size=2, max_size=30), st.floats(0.01, 0.9), st.integers(0, 3))
def test_hold_out(items: list[int], share: float, seed: int) -> None:
    pairs = [Pair(item, "title", str(n), "<a_0>") for n, item in enumerate(items)]
    train, held = hold_out(pairs, share, seed)
    assert sorted([*train, *held], key=lambda p: int(p.text)) == pairs
    assert hold_out(pairs, share, seed) == (train, held)
    assert 1 <= len(held) <= max(round(share * len(pairs)), 1)
    per_item = Counter(items)
    if max(per_item.values()) > 1:  # then no item loses all of its pairs
        assert {p.item for p in train} == set(items)
    assert hold_out(pairs, 0.0, seed) == (pairs, [])


def figures(places: Sequence[int]) -> torch.Tensor:
    """Number, sum and sum of squares of some numbers."""
    return torch.tensor([len(places), sum(places), sum(n * n for n in places)], dtype=torch.float64)


@given(st.lists(st.integers(0, 19), max_size=20, unique=True), st.integers(1, 7), st.booleans())
def test_sums_over_batches_are_the_sums_of_all(places: list[int], size: int, lockstep: bool) -> None:
    lengths = [n % 5 for n in range(20)]
    batches: list[Sequence[int]] = []

    def batch_sums(batch: Sequence[int]) -> torch.Tensor:
        batches.append(batch)
        return figures(batch)

    found = sum_over_batches(batch_sums, 3, places, lengths, CPU, size=size, lockstep=lockstep)
    assert found == figures(places).tolist()
    assert len(batches) == -(-len(places) // size) and all(len(batch) <= size for batch in batches)
    order = [lengths[n] for batch in batches for n in batch]
    assert order == sorted(order)  # examples of similar length share a batch


@pytest.mark.parametrize("lockstep", [True, False])
def test_several_processes_share_the_batches(monkeypatch: pytest.MonkeyPatch, lockstep: bool) -> None:
    """What the processes compute one after the other adds up; a batch without examples does not count."""
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda sums: None)
    total, calls = torch.zeros(3, dtype=torch.float64), []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        made: list[int] = []

        def batch_sums(batch: Sequence[int], made: list[int] = made) -> torch.Tensor:
            made.append(len(batch))
            return figures(batch) if batch else torch.full((3,), torch.nan, dtype=torch.float64)

        part = sum_over_batches(batch_sums, 3, range(7), [1] * 7, CPU, size=2, lockstep=lockstep)
        total += torch.tensor(part, dtype=torch.float64)
        calls.append(len(made))
    assert total.tolist() == figures(range(7)).tolist()
    assert calls == ([2, 2, 2] if lockstep else [2, 1, 1])


TOKENS = st.lists(st.frozensets(st.sampled_from("abcde"), min_size=1), min_size=2, max_size=20)


@given(TOKENS, st.data(), st.floats(0.01, 0.9), st.integers(0, 3))
def test_every_token_of_a_held_out_pair_is_trained_elsewhere(
    tokens: list[frozenset[str]], data: st.DataObject, share: float, seed: int
) -> None:
    items = data.draw(st.lists(st.integers(0, 6), min_size=len(tokens), max_size=len(tokens)))
    pairs = [Pair(item, "title", str(n), "") for n, item in enumerate(items)]
    train, held = hold_out(pairs, share, seed, tokens)
    assert sorted([*train, *held], key=lambda p: int(p.text)) == pairs
    taught = frozenset[str]().union(*(tokens[int(pair.text)] for pair in train))
    assert all(tokens[int(pair.text)] <= taught for pair in held)
    # A choice by items alone that leaves no token untaught is not touched.
    plain = hold_out(pairs, share, seed)
    taught = frozenset[str]().union(*(tokens[int(pair.text)] for pair in plain[0]))
    if all(tokens[int(pair.text)] <= taught for pair in plain[1]):
        assert (train, held) == plain


def test_nothing_is_held_out_where_each_pair_has_a_token_of_its_own() -> None:
    pairs = [Pair(n, "text", str(n), f"<{n}>") for n in range(5)]
    tokens = [{f"<{n}>"} for n in range(5)]
    assert hold_out(pairs, 0.4, 0, tokens) == (pairs, [])
    twice = [*pairs, Pair(5, "text", "5", "<0>")]
    train, held = hold_out(twice, 0.4, 0, [*tokens, {"<0>"}])
    assert len(held) == 1 and held[0].tokens == "<0>" and len(train) == 5
