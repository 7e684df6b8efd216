"""Ids that differ by the way they are written alone: the error names the way, and gives an example."""

from __future__ import annotations

import pytest

from gti_cli.errors import InputError
from gti_cli.tables.columns import refuse_unknown_items
from gti_cli.tables.near_misses import near_miss


@pytest.mark.parametrize(
    ("unknown", "known", "problem"),
    [
        (
            ["7", "10"],
            ["007", "010"],
            "; all differ by leading zeros alone from ids that exist ('7' here is '007' there)",
        ),
        (["007"], ["7"], "leading zeros alone from ids that exist ('007' here is '7' there)"),
        (["7.0", "8.0", "x"], ["7", "8"], "; 2 of 3 differ by a trailing '.0' alone"),
        (["7"], ["7.00"], "trailing '.0'"),
        ([" 7"], ["7"], "spaces around the id"),
        (["7.0", "10.0"], ["007", "010"], "by leading zeros, a trailing '.0' or spaces alone"),
        (["0"], ["000"], "leading zeros"),
    ],
)
def test_the_difference_is_named(unknown: list[str], known: list[str], problem: str) -> None:
    miss = near_miss(unknown, known)
    assert miss is not None and problem in miss.problem


@pytest.mark.parametrize(
    ("unknown", "known"),
    [(["8"], ["007"]), (["7", "8", "9", "10"], ["007", "008"]), (["a.0b"], ["ab"]), (["A.0"], ["A"]), (["7"], [])],
)
def test_other_ids_are_unknown_and_no_more(unknown: list[str], known: list[str]) -> None:
    assert near_miss(unknown, known) is None


def test_the_error_of_a_table_says_it_with_the_remedy() -> None:
    with pytest.raises(InputError, match="leading zeros") as raised:
        refuse_unknown_items(["7", "8"], {"007", "008"}, "log.csv", "rows")
    assert str(raised.value) == (
        "log.csv, column 'item_id', row 1: items without a semantic ID: '7', '8'; all differ by leading zeros alone "
        "from ids that exist ('7' here is '007' there). A program has read these ids as numbers: write that column as "
        "text, in both files alike."
    )
