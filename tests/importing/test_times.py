"""Times in all their forms."""

from __future__ import annotations

import pytest

from gti_cli.errors import InputError
from gti_cli.importing.times import MILLISECONDS, POSITIONS, SECONDS, parse_bound, parse_time


@pytest.mark.parametrize(
    ("text", "pattern", "seconds"),
    [
        ("1970-01-02", None, 86_400),
        ("19700102", None, 86_400),
        ("2018-07-07 22:09:11", None, 1531001351),
        ("2018-07-07T22:09:11Z", None, 1531001351),
        ("2018-07-07T22:09:11+02:00", None, 1531001351 - 7200),
        ("11/13/2019 8:36:57 AM", "%m/%d/%Y %I:%M:%S %p", 1573634217),
    ],
)
def test_written_times(text: str, pattern: str | None, seconds: int) -> None:
    assert parse_time(text, pattern) == seconds


@pytest.mark.parametrize("text", ["yesterday", "", "2018-13-01", "12/31/2018"])
def test_other_texts_are_no_times(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_time(text)


def test_bounds_are_inclusive_and_a_day_ends_at_its_end() -> None:
    assert parse_bound("1970-01-02", SECONDS, "--since") == 86_400
    assert parse_bound("1970-01-01", SECONDS, "--until", end=True) == 86_399
    assert parse_bound("1970-01-01", MILLISECONDS, "--until", end=True) == 86_399_999
    assert parse_bound("1970-01-01T00:00:05", MILLISECONDS, "--until", end=True) == 5_000
    assert parse_bound("1531001351", SECONDS, "--since") == 1531001351
    assert parse_bound(None, POSITIONS, "--since") is None


def test_bad_bounds() -> None:
    with pytest.raises(InputError, match="--since 'May' is no date"):
        parse_bound("May", SECONDS, "--since")
    with pytest.raises(InputError, match="--until needs times"):
        parse_bound("2018-01-01", POSITIONS, "--until")
