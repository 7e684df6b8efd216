"""Written times against Python's own `datetime`, which writes each of them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.tables.written_times import NUMBERS, WrittenTimes, day_comes_first, parse_written_time, parsed_times

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(lambda moment: moment.replace(microsecond=0))

YEAR_FIRST = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y.%m.%d %H:%M:%S", "%Y%m%dT%H%M%S"]
WORDS = [
    "%d %b %Y %H:%M:%S",
    "%d-%b-%Y %H:%M:%S",
    "%d/%b/%Y:%H:%M:%S",
    "%B %d, %Y %I:%M:%S %p",
    "%A, %d %B %Y at %H:%M:%S",
    "%a %b %d %H:%M:%S %Y",
    "%a %b %d %Y %H:%M:%S",
]
DAY_FIRST = ["%d/%m/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%d-%m-%Y %I:%M:%S %p"]
MONTH_FIRST = ["%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y, %I:%M:%S%p", "%m-%d-%Y %H:%M:%S"]


def where(row: int) -> str:
    return f"row {row}"


def nanoseconds(text: str, day_first: bool | None = None) -> int:
    return WrittenTimes(where, day_first).nanoseconds(text, 1)


def expected(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


@given(MOMENTS, st.sampled_from([*YEAR_FIRST, *WORDS, *DAY_FIRST, *MONTH_FIRST]))
def test_every_form_is_read_as_it_was_written(moment: datetime, form: str) -> None:
    day_first = True if form in DAY_FIRST else False if form in MONTH_FIRST else None
    assert nanoseconds(moment.strftime(form), day_first) == expected(moment.replace(tzinfo=timezone.utc))


@given(MOMENTS, OFFSETS, st.integers(0, 999_999))
def test_zones_and_fractions(moment: datetime, zone: timezone, microsecond: int) -> None:
    aware = moment.replace(tzinfo=zone)
    assert nanoseconds(format_datetime(aware)) == expected(aware)  # RFC 2822
    assert nanoseconds(aware.strftime("%a %b %d %H:%M:%S %z %Y")) == expected(aware)
    assert nanoseconds(aware.strftime("%d/%b/%Y:%H:%M:%S %z")) == expected(aware)
    fine = aware.replace(microsecond=microsecond)
    assert nanoseconds(fine.isoformat()) == nanoseconds(str(fine)) == expected(fine)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2018-05-30", "2018-05-30 00:00:00"),
        ("20180530", "2018-05-30"),
        ("2018-5-3", "2018-05-03"),
        (" 2018-05-30T12:00Z ", "2018-05-30 12:00:00+00:00"),
        ("20180530T120000Z", "2018-05-30 12:00:00+00"),
        ("2018-05-30 12:00:00 UTC", "2018-05-30 12:00:00+00:00"),
        ("2018-05-30 12:00:00 +0200", "2018-05-30 10:00:00Z"),
        ("Wed May 30 2018 12:00:00 GMT+0200 (Central European Summer Time)", "2018-05-30 10:00:00Z"),
        ("2018-05-30 12:00:00,5", "2018-05-30 12:00:00.500"),
        ("May 3rd, 2018", "2018-05-03"),
        ("3 Sept. 2018 12:30", "2018-09-03 12:30:00"),
        ("May 3, 2018 12:30 a.m.", "2018-05-03 00:30:00"),
        ("May 3, 2018 1:30 p.m.", "2018-05-03 13:30:00"),
        ("2018-05-30T12:00+02", "2018-05-30 10:00:00Z"),
        ("2018-05-30 12:00+18:59", "2018-05-29 17:01:00Z"),
    ],
)
def test_more_forms(text: str, same: str) -> None:
    assert nanoseconds(text) == nanoseconds(same)


def test_nanoseconds_are_kept() -> None:
    assert nanoseconds("2018-05-30 12:00:00.123456789") - nanoseconds("2018-05-30 12:00:00") == 123_456_789
    assert nanoseconds("2018-05-30 12:00:00.123456789000") == nanoseconds("2018-05-30 12:00:00.123456789")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("yesterday", "no date or time that can be read"),
        ("", "no date or time that can be read"),
        ("12:30:00", "no date or time that can be read"),
        ("2018-W22-3", "no date or time that can be read"),
        ("2018-05-30-07", "no date or time that can be read"),
        ("2018-05-30 12:00:00.1234567891", "no date or time that can be read"),
        ("2018-05-30T", "no date or time that can be read"),
        ("2018W22-12", "no date or time that can be read"),
        ("2018W22W12", "no date or time that can be read"),
        ("2018-05-30_12:00:00", "no date or time that can be read"),
        ("2018-05-30 120000.5", "no date or time that can be read"),  # so that every version of Python reads the same
        ("2018-05-30 120000.25", "no date or time that can be read"),
        ("2018-02-29", "a day that no month has"),
        ("31 Apr 2018", "a day that no month has"),
        ("2018-13-01", "a day that no month has"),
        ("2018-05-30 24:00:00", "an hour, minute or second that no day has"),
        ("2018-05-30 12:60:00", "an hour, minute or second that no day has"),
        ("2018-05-30 12:00:60", "an hour, minute or second that no day has"),
        ("2018-05-30 13:00 PM", "the hour 13 beside am or pm"),
        ("05/30/18", "a year of two digits"),
        ("30-MAY-18 12:00", "a year of two digits"),
        ("2018-05-30 12:00:00 CST", "the zone CST, whose distance from UTC is not fixed"),
        ("Wed May 30 12:00:00 CEST 2018", "the zone CEST, whose"),
        ("2018-05-30 12:00:00+99:00", "a zone 99:00 away"),
        ("2018-05-30 12:00:00+19:00", "a zone 19:00 away"),
        ("2018-05-30 12:00:00-02:60", "a zone 02:60 away"),
        ("03/04/2018", "may have the day or the month first"),
    ],
)
def test_other_texts_are_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=r"^row 1: .* is no date or time that can be read") as caught:
        nanoseconds(text)
    assert reason in str(caught.value) and repr(text) in str(caught.value)


def test_a_reason_is_given_only_where_there_is_one() -> None:
    with pytest.raises(InputError) as caught:
        nanoseconds("yesterday")
    assert str(caught.value) == (
        "row 1: 'yesterday' is no date or time that can be read. "
        "Write all times of the column as numbers, or all like 2018-05-30 12:00:00."
    )


@pytest.mark.parametrize("word", ["am", "PM", "utc", "GMT", "ut", "st", "nd", "rd", "th", "AM", "pm"])
def test_words_behind_numbers_that_are_no_zones(word: str) -> None:
    with pytest.raises(InputError, match=r"can be read\. Write"):
        nanoseconds(f"day 12 {word}")


def test_a_number_above_12_settles_the_whole_column() -> None:
    assert day_comes_first(parsed_times([(1, "03/04/2018"), (2, "13/04/2018"), (3, "01/01/2018")]), where) is True
    assert day_comes_first(parsed_times([(1, "03/04/2018 1:00 PM"), (2, "04/13/2018 1:00 PM")]), where) is False
    assert day_comes_first(parsed_times([(1, "2018-04-13"), (2, "soon")]), where) is None
    assert day_comes_first(parsed_times([(1, "soon"), (2, "13/04/2018")]), where) is True
    assert day_comes_first(parsed_times([(1, "13/12/2018")]), where) is True
    assert day_comes_first(parsed_times([(1, "12/13/2018")]), where) is False
    times = WrittenTimes(where, day_first=True)
    assert times.nanoseconds("03/04/2018", 1) == nanoseconds("2018-04-03")


def test_columns_that_settle_nothing_or_too_much_are_refused() -> None:
    for texts in (["03/04/2018", "04/03/2018"], ["12/03/2018"], ["03/12/2018"]):
        with pytest.raises(
            InputError, match=rf"^row 4: '{texts[0]}' may have the day or the month first, and no row.* Write all times"
        ):
            day_comes_first(parsed_times(enumerate(texts, start=4)), where)
    with pytest.raises(
        InputError,
        match=r"^row 7: '13/04/2018' has the day before the month, and '04/13/2018' \(row 5\).* Write all times",
    ):
        day_comes_first(parsed_times([(5, "04/13/2018"), (6, "01/01/2018"), (7, "13/04/2018")]), where)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("2018-05-30 12:00", "2018-05-30 12:00Z", "'2018-05-30 12:00Z' names its time zone, and .* does not .row 1"),
        ("2018-05-30 12:00Z", "2018-05-30 12:00", "'2018-05-30 12:00' names no time zone, and .* does .row 1"),
        ("2018-05-30", "30 May 2018", "written with the month in words, and '2018-05-30' with the year first .row 1"),
        ("2018-05-30", "30/05/2018", "written with day and month in numbers"),
    ],
)
def test_a_column_has_one_form(first: str, second: str, message: str) -> None:
    times = WrittenTimes(where)
    times.nanoseconds(first, 1)
    with pytest.raises(InputError, match=rf"^row 2: .*{message}.*\. Write all times"):
        times.nanoseconds(second, 2)


def test_times_of_several_zones_are_read_by_their_zones() -> None:
    times = WrittenTimes(where)
    assert times.nanoseconds("2018-05-30T12:00:00+02:00", 1) == times.nanoseconds("2018-05-30T10:00:00Z", 2)


def test_seconds_are_whole_where_the_text_is() -> None:
    times = WrittenTimes(where)
    assert times.seconds("1970-01-02", 1) == 86_400 and isinstance(times.seconds("1970-01-02", 1), int)
    assert times.seconds("1970-01-01 00:00:01.25", 2) == 1.25
    assert times.seconds("1969-12-31 23:59:59", 3) == -1
    with pytest.raises(InputError, match=r"^row 4: 'soon' is no date"):
        times.seconds("soon", 4)


def test_a_whole_column() -> None:
    assert WrittenTimes(where).all_nanoseconds(["03/04/2018", "13/04/2018"]) == [
        nanoseconds("2018-04-03"),
        nanoseconds("2018-04-13"),
    ]
    with pytest.raises(InputError, match=r"^row 1: '04/2018' is no date"):
        WrittenTimes(where).all_nanoseconds(["03/04/2018", "04/2018"])
    with pytest.raises(InputError, match=r"^row 1: '31/04/2018' is no date .* a day that no month has"):
        WrittenTimes(where).all_nanoseconds(["03/04/2018", "31/04/2018"])
    assert WrittenTimes(where).all_nanoseconds(["13/04/2018"]) == [nanoseconds("2018-04-13")]
    assert WrittenTimes(where).all_nanoseconds([]) == []
    assert parse_written_time("03/04/2018").kind == NUMBERS
