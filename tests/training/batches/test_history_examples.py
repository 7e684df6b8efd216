"""Histories cut into examples: every item but the first is a target once, after its most recent items."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gti_cli.training.batches.history_examples import HistoryExample, history_examples, single_target_examples


@given(st.lists(st.integers(0, 19), max_size=40), st.integers(1, 12))
def test_every_item_but_the_first_is_a_target_once_after_its_most_recent_items(items: list[int], history: int) -> None:
    found = [single for example in history_examples(items, history) for single in single_target_examples(example)]
    assert [example.items[-1] for example in found] == items[1:]
    for place, example in enumerate(found, start=1):
        shown = example.items[:-1]
        assert list(shown) == items[place - len(shown) : place]
        assert example.target_count == 1
        assert len(shown) == place if place <= history else (history + 1) // 2 <= len(shown) <= history


@given(st.lists(st.integers(0, 19), max_size=40), st.integers(1, 12))
def test_last_only(items: list[int], history: int) -> None:
    found = history_examples(items, history, last_only=True)
    assert found == (
        [HistoryExample(tuple(items[-history - 1 :]), min(len(items) - 1, history))] if len(items) > 1 else []
    )
