"""Times in all their forms, and the bounds of `--since` and `--until`."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.importing.times import (
    MICROSECONDS,
    MILLISECONDS,
    NANOSECONDS,
    POSITIONS,
    SECONDS,
    ColumnTimes,
    parse_bound,
    unit_of,
)


def where(line: int) -> str:
    return f"line {line}"


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("1970-01-02", 86_400),
        ("2018-07-07 22:09:11", 1531001351),
        ("2018-07-07T22:09:11+02:00", 1531001351 - 7200),
        ("2018-07-07 22:09:11.5", 1531001351.5),
        (date(1970, 1, 2), 86_400),
        (datetime(2018, 7, 7, 22, 9, 11, tzinfo=timezone.utc), 1531001351),
        ("1531001351", 1531001351),
        ("1531001351.0", 1531001351),
        (1531001351.25, 1531001351.25),
        (Decimal("1531001351.50"), 1531001351.5),
        ("1531001351123456789", 1531001351123456789),
        (1531001351123456789, 1531001351123456789),
        ("-5", -5),
    ],
)
def test_one_time(value: Any, time: float) -> None:
    found = ColumnTimes(where).read(value, 1)
    assert found == time and type(found) is type(time)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([None], "line 1: the time is missing"),
        ([float("nan")], "line 1: the time is missing"),
        (["1", " "], "line 2: the time is missing"),
        (["soon"], "line 1: 'soon' is no date or time that can be read"),
        (["1", "2018-05-30"], r"line 2: the time '2018-05-30' and the time '1' \(line 1\) have two forms"),
        (["1e300"], "line 1: the time '1e300' does not fit in 64 bits"),
        (["inf"], "line 1: 'inf' is no date"),
    ],
)
def test_bad_times(values: list[Any], message: str) -> None:
    times = ColumnTimes(where)
    with pytest.raises(InputError, match=message):
        for line, value in enumerate(values, start=1):
            times.read(value, line)


def test_seconds_in_float32() -> None:
    times = ColumnTimes(where, narrow_type="float32")
    assert times.read(2.0**24, 1) == 2**24
    with pytest.raises(InputError, match="line 2: float32 holds whole numbers up to 16,777,216 exactly"):
        times.read(1531001344.0, 2)


def test_bounds_are_inclusive_and_a_day_ends_at_its_end() -> None:
    assert parse_bound("1970-01-02", SECONDS, "--since") == 86_400
    assert parse_bound("19700102", SECONDS, "--since") == 86_400
    assert parse_bound("1970-01-01", SECONDS, "--until", end=True) == 86_399
    assert parse_bound("1970-01-01", MILLISECONDS, "--until", end=True) == 86_399_999
    assert parse_bound("1970-01-01", NANOSECONDS, "--until", end=True) == 86_400 * 10**9 - 1
    assert parse_bound("1970-01-01T00:00:05", MILLISECONDS, "--until", end=True) == 5_000
    assert parse_bound("1970-01-01T00:00:05.25", MICROSECONDS, "--since") == 5_250_000
    assert parse_bound("1970-01-01T00:00:05.25", SECONDS, "--since") == 6
    assert parse_bound("1970-01-01T00:00:05.25", SECONDS, "--until", end=True) == 5
    assert parse_bound("1531001351", SECONDS, "--since") == 1531001351
    assert parse_bound(None, POSITIONS, "--since") is None


@pytest.mark.parametrize("text", ["May", "2018-13-01", "12/31/2018", "31 May 2018", ""])
def test_bad_bounds(text: str) -> None:
    with pytest.raises(InputError, match=f"--since '{text}' is no date"):
        parse_bound(text, SECONDS, "--since")


def test_positions_have_no_bounds() -> None:
    with pytest.raises(InputError, match="--until needs times"):
        parse_bound("2018-01-01", POSITIONS, "--until")


@pytest.mark.parametrize("unit", [SECONDS, MILLISECONDS, MICROSECONDS, NANOSECONDS])
@pytest.mark.parametrize("year", [1975, 2026, 2100])
def test_the_unit_of_a_number_is_told_by_its_size(unit: str, year: int) -> None:
    seconds = datetime(year, 1, 1, tzinfo=timezone.utc).timestamp()
    factor = {SECONDS: 1, MILLISECONDS: 1e3, MICROSECONDS: 1e6, NANOSECONDS: 1e9}[unit]
    assert unit_of(seconds * factor) == unit
