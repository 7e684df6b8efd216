"""What is gathered: numbers for ids, whole times, texts by column."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.importing.gather import InteractionLog, ItemTexts, add_in_order, number
from gti_cli.importing.times import MICROSECONDS, MILLISECONDS, NANOSECONDS, POSITIONS, SECONDS
from tests.support.alphabets import UNUSUAL


@given(st.lists(st.tuples(st.text(UNUSUAL, max_size=2), st.integers(0, 9), st.integers(0, 2**36))))
def test_rows_come_back_as_they_went_in(rows: list[tuple[str, int, int]]) -> None:
    log = InteractionLog()
    for user, item, time in rows:
        log.add(user, item, time, 2.5)
    assert len(log) == len(rows)
    data = log.columns()
    assert len(data) == len(rows) and len(log) == 0
    back = zip(data.user.tolist(), data.item.tolist(), data.time.tolist(), strict=True)
    assert [(data.user_ids[u], data.item_ids[i], t) for u, i, t in back] == [(u, str(i), t) for u, i, t in rows]
    assert data.unit == SECONDS and (data.rating == 2.5).all()


def test_one_fraction_of_a_second_makes_milliseconds_of_all() -> None:
    log = InteractionLog()
    log.add("u", "a", 1593878903.438)
    log.add("u", "b", 1593878904)
    data = log.columns()
    assert data.unit == MILLISECONDS and data.time.tolist() == [1593878903438, 1593878904000]
    assert all(map(math.isnan, data.rating.tolist()))


@pytest.mark.parametrize(
    ("times", "unit", "whole"),
    [
        ([1593878903.438005, 1593878903], MICROSECONDS, [1593878903438005, 1593878903000000]),
        ([1593878903438, 1593878904000], MILLISECONDS, [1593878903438, 1593878904000]),
        ([1593878903438.0, 1593878904000.5], MICROSECONDS, [1593878903438000, 1593878904000500]),
        ([1593878903438000001, 1593878903438000002], NANOSECONDS, [1593878903438000001, 1593878903438000002]),
        ([0.5, 0.25], MILLISECONDS, [500, 250]),
        ([253402300799, 1593878903, 1593878904], SECONDS, [253402300799, 1593878903, 1593878904]),
    ],
)
def test_no_digit_of_a_time_is_lost(times: list[float], unit: str, whole: list[int]) -> None:
    log = InteractionLog()
    for time in times:
        log.add("u", "a", time)
    data = log.columns()
    assert (data.unit, data.time.tolist()) == (unit, whole)


def test_positions_are_times_of_their_own_kind() -> None:
    log = InteractionLog()
    add_in_order(log, "u", ["b", "a"], start=3)
    data = log.columns()
    assert data.unit == POSITIONS and data.time.tolist() == [3, 4]


def test_items_with_different_columns_are_filled_up() -> None:
    items = ItemTexts()
    items.add("a", {"title": "A &amp; B"})
    items.add("b", {"title": None, "brand": "Acme", "categories": ["X", "Y"]})
    items.add("c", {"title": "C"})
    items.add("a", {"title": "again"})
    assert items.columns == {
        "title": ["A & B", "", "C"],
        "brand": ["", "Acme", ""],
        "categories": ["", "X > Y", ""],
    }
    assert items.repeated == 1 and items.with_html == 1


@pytest.mark.parametrize("value", ["x", None, "nan", float("inf"), [1]])
def test_what_is_no_number_is_named(value: object) -> None:
    with pytest.raises(InputError, match=r"the time .* is no number"):
        number(value, "time", "here")
    assert number("3.5", "time", "here") == 3.5
