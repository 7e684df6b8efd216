"""Rows that share user and time, against loops over all pairs of rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.tables.equal_times import InteractionOptions, order_rows, row_contents

ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=30)


@given(ROWS, st.booleans(), st.booleans())
def test_equals_a_comparison_of_all_pairs(rows: list[tuple[int, int, int]], drop: bool, fractions: bool) -> None:
    users, times, items = (np.array(column) for column in zip(*rows, strict=True))
    found = order_rows(
        users,
        times / 8 if fractions else times,
        lambda numbers: items[numbers],
        drop_repeated=drop,
    )
    repeated = {n for n, row in enumerate(rows) if row in rows[:n]}
    used = [n for n in range(len(rows)) if not (drop and n in repeated)]
    assert found.order.tolist() == sorted(used, key=lambda n: rows[n][:2])
    assert found.counts["repeated_rows"] == len(repeated)
    shares = [n for n in used if any(rows[n][:2] == rows[other][:2] for other in used if other != n)]
    assert found.counts["equal_times"] == len(shares)
    undecided = [any(rows[n][:2] == row[:2] and rows[n][2] != row[2] for row in rows) for n in found.order.tolist()]
    assert found.undecided.tolist() == undecided


def test_contents_are_asked_of_the_rows_that_share_a_time_alone() -> None:
    asked: list[int] = []

    def contents(numbers: np.ndarray) -> np.ndarray:
        asked.extend(numbers.tolist())
        return np.zeros(len(numbers), dtype=np.int64)

    users, times = np.array([0, 0, 1, 0]), np.array([7, 8, 7, 7])
    assert order_rows(users, times, contents).counts == {"equal_times": 2, "repeated_rows": 1}
    assert asked == [0, 3]


def test_the_first_of_many_repeated_rows_is_the_one_that_stays() -> None:
    same = np.zeros(200, dtype=np.int64)
    found = order_rows(same, same, lambda rows: rows % 3, drop_repeated=True)
    assert found.order.tolist() == [0, 1, 2] and found.counts == {"equal_times": 3, "repeated_rows": 197}


def test_one_row() -> None:
    found = order_rows(np.array([0]), np.array([5]), lambda numbers: numbers)
    assert found.order.tolist() == [0] and found.undecided.tolist() == [False]


@pytest.mark.parametrize(
    ("options", "reads_table", "message"),
    [
        (InteractionOptions(ties="random"), True, "--ties 'random' is not known. Use file or refuse"),
        (InteractionOptions(duplicates="first"), True, "--duplicates 'first' is not known. Use keep or drop"),
        (
            InteractionOptions(ties="refuse"),
            False,
            "--ties is about a table of interactions, and none is read. Leave it out",
        ),
        (InteractionOptions(duplicates="drop"), False, "--duplicates is about a table of interactions"),
    ],
)
def test_options_that_cannot_be_meant(options: InteractionOptions, reads_table: bool, message: str) -> None:
    with pytest.raises(InputError, match=message):
        options.check(reads_table=reads_table)


def test_only_what_changes_a_result_is_recorded() -> None:
    InteractionOptions().check(reads_table=False)
    assert InteractionOptions(ties="refuse").recorded() == {}
    assert InteractionOptions(duplicates="drop").recorded() == {"duplicates": "drop"}


def test_contents_are_the_same_where_item_and_split_are() -> None:
    items, rows = np.array([0, 1, 2, 0, 0], dtype=np.int32), np.array([0, 1, 3, 4])
    first, other, again, _ = row_contents(items, None)(rows).tolist()
    assert first == again != other
    splits = np.array([0, 0, 0, 0, 1], dtype=np.int32)
    first, _, again, as_test = row_contents(items, splits)(rows).tolist()
    assert first == again != as_test
    # Every pair has a number of its own, from 0.
    items, splits = (column.ravel().astype(np.int32) for column in np.indices((5, 3)))
    numbers = row_contents(items, splits)(np.arange(15))
    assert len(set(numbers.tolist())) == 15 and numbers.min() >= 0


@example([1 << bit for bit in range(40, -1, -1)], [])
@given(st.lists(st.integers(0, 1 << 40), max_size=30), st.lists(st.integers(0, 3), max_size=30))
def test_numbers_of_any_size_are_ordered_as_by_a_stable_sort(large: list[int], small: list[int]) -> None:
    numbers = np.array([*large, *small, *(number << 16 for number in small)], dtype=np.int64)
    times = np.arange(len(numbers))[::-1] // 3
    expected = sorted(range(len(numbers)), key=lambda n: (numbers[n], times[n]))
    assert order_rows(numbers, times, lambda rows: rows).order.tolist() == expected
