"""Read times that are written as text: ISO 8601, RFC 2822 and the other forms that exports have.

`parse_written_time` takes one text apart. `WrittenTimes` reads the texts of one column and holds them to one form, so
that no two rows are compared that do not mean the same. ``03/04/2018`` is a day of March or of April: which one, only
a column can say in which a number is above 12 (`day_comes_first`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import NamedTuple

from gti_cli.errors import InputError

NANO = 10**9
_EPOCH = date(1970, 1, 1).toordinal()
_REMEDY = "write all times of the column as numbers, or all like 2018-05-30 12:00:00"

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<word>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_WEEKDAY = r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?\.?,?\s+)?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9})0*)?)?"
    r"(?:\s*(?P<half>[ap])\.?m\.?)?"
)
# "+02:00", "Z", "UTC", "GMT+0200 (CEST)". Other names of zones, such as CST, stand for several offsets.
_ZONE = r"(?:\s*(?P<zone>z|(?:utc|gmt|ut)?\s?[+-]\d{2}(?::?\d{2})?|utc|gmt|ut)(?:\s+(?:utc|gmt))?(?:\s*\([^()]*\))?)?"
_TIME = rf"(?:(?:t|:|,?\s+(?:at\s+)?){_CLOCK}{_ZONE})?"

YEAR_FIRST, NUMBERS, WORDS = "the year first", "day and month in numbers", "the month in words"
_FORMS = tuple(
    (kind, re.compile(pattern, re.IGNORECASE | re.ASCII))
    for kind, pattern in (
        (YEAR_FIRST, rf"(?P<year>\d{{4}})(?P<mark>[-/.])(?P<month>\d{{1,2}})(?P=mark){_DAY}{_TIME}"),
        (
            YEAR_FIRST,  # ISO 8601 without hyphens
            r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})"
            rf"(?:t(?P<hour>\d{{2}})(?P<minute>\d{{2}})(?:(?P<second>\d{{2}})(?:[.,](?P<fraction>\d{{1,9}})0*)?)?{_ZONE})?",
        ),
        (NUMBERS, rf"(?P<month>\d{{1,2}})(?P<mark>[-/.])(?P<day>\d{{1,2}})(?P=mark)(?P<year>\d{{4}}){_TIME}"),
        (WORDS, rf"{_WEEKDAY}{_DAY}[\s/-]+{_MONTH}[\s,/-]+(?P<year>\d{{4}}){_TIME}"),
        (WORDS, rf"{_WEEKDAY}{_MONTH}\s+{_DAY},?\s+(?P<year>\d{{4}}){_TIME}"),
        (WORDS, rf"{_WEEKDAY}{_MONTH}\s+{_DAY}\s+{_CLOCK}{_ZONE}\s+(?P<year>\d{{4}})"),
    )
)
_TWO_DIGIT_YEAR = re.compile(
    rf"\d{{1,2}}([-/.])(?:\d{{1,2}}|{_MONTH})\1\d{{2}}(?!\d).*", re.IGNORECASE | re.ASCII | re.DOTALL
)
_ZONE_NAME = re.compile(r".*\d\s*(?P<name>[A-Za-z]{2,5})(?:\s+\d{4})?", re.ASCII | re.DOTALL)


class WrittenTime(NamedTuple):
    """A text, taken apart.

    Attributes:
        kind: `YEAR_FIRST`, `NUMBERS` or `WORDS`.
        year: The year.
        month: The month. Of `NUMBERS`: the first number, which may be the day.
        day: The day. Of `NUMBERS`: the second number.
        clock: Nanoseconds since midnight; 0 for a date alone.
        zone: Seconds east of UTC; None where the text names no zone.
    """

    kind: str
    year: int
    month: int
    day: int
    clock: int
    zone: int | None


@lru_cache(maxsize=1 << 14)  # many tables have few different days
def parse_written_time(text: str) -> WrittenTime:
    """Take a written time apart.

    Raises:
        ValueError: When it has no form that is known; the message says why, as far as that can be told.
    """
    # The usual forms, 2018-05-30 and 2018-05-30 12:00:00, are read three times as fast without a regular expression.
    # Since Python 3.11 `fromisoformat` also takes 120000.5 for a time of day; the colons keep that out.
    if len(text) in (10, 19) and text[4] == text[7] == "-" and text[10:14:3] in ("", " :", "T:"):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is None:
            clock = (moment.hour * 3600 + moment.minute * 60 + moment.second) * NANO
            return WrittenTime(YEAR_FIRST, moment.year, moment.month, moment.day, clock, None)
    for kind, form in _FORMS:
        match = form.fullmatch(text)
        if match is not None:
            part = match.groupdict()
            month = part.get("month") or _MONTHS.index(part["word"][:3].lower()) + 1
            return WrittenTime(
                kind, int(part["year"]), int(month), int(part["day"]), _nanoseconds(part), _offset(part["zone"])
            )
    if _TWO_DIGIT_YEAR.fullmatch(text):
        raise ValueError("has a year of two digits")
    zone = _ZONE_NAME.fullmatch(text)
    if zone is not None and zone["name"].lower() not in ("am", "pm", "utc", "gmt", "ut", "st", "nd", "rd", "th"):
        raise ValueError(f"has the zone {zone['name']}, whose distance from UTC is not fixed")
    raise ValueError("")


def _nanoseconds(part: dict[str, str | None]) -> int:
    """Return the time of day in nanoseconds."""
    if part["hour"] is None:
        return 0
    hour, minute, second = int(part["hour"]), int(part["minute"] or 0), int(part["second"] or 0)
    half = part.get("half")
    if half is not None:
        if not 1 <= hour <= 12:
            raise ValueError(f"has the hour {hour} beside am or pm")
        hour = hour % 12 + (12 if half in "pP" else 0)
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError("has an hour, minute or second that no day has")
    return ((hour * 60 + minute) * 60 + second) * NANO + int((part["fraction"] or "").ljust(9, "0"))


def _offset(zone: str | None) -> int | None:
    """Return the seconds east of UTC."""
    if zone is None:
        return None
    digits = re.sub(r"[^0-9]", "", zone)
    if not digits:
        return 0
    hours, minutes = int(digits[:2]), int(digits[2:] or 0)
    if hours > 18 or minutes > 59:
        raise ValueError(f"has a zone {hours:02}:{minutes:02} away from UTC")
    return (hours * 3600 + minutes * 60) * (-1 if "-" in zone else 1)


def parsed_times(texts: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str, WrittenTime]]:
    """Take the texts of a column apart.

    Args:
        texts: The number of each row (or line), and its text.

    Yields:
        The number, the text and its parts. Texts that are no times are passed over.
    """
    for place, text in texts:
        try:
            yield place, text, parse_written_time(text.strip())
        except ValueError:
            continue


def day_comes_first(times: Iterable[tuple[int, str, WrittenTime]], where: Callable[[int], str]) -> bool | None:
    """Tell from a column whether ``03/04/2018`` is written day first or month first.

    Args:
        times: See `parsed_times`.
        where: From the number of a row to its place, for error lines.

    Returns:
        None where no text has day and month in numbers.

    Raises:
        InputError: When both numbers are 12 or less in every row, or the rows contradict one another.
    """
    first: tuple[int, str] | None = None
    shows: dict[bool, tuple[int, str]] = {}  # day first? -> the first row that can be read in no other way
    for place, text, written in times:
        if written.kind == NUMBERS:
            first = first or (place, text)
            if written.month > 12 or written.day > 12:
                shows.setdefault(written.month > 12, (place, text))
    if len(shows) == 2:
        (place, text), (other_place, other_text) = shows[True], shows[False]
        raise InputError(
            f"{text!r} has the day before the month, and {other_text!r} ({where(other_place)}) the month before "
            "the day",
            where=where(place),
            remedy=_REMEDY,
        )
    if first is not None and not shows:
        raise InputError(
            f"{first[1]!r} may have the day or the month first, and no row of the column settles it",
            where=where(first[0]),
            remedy=_REMEDY,
        )
    return next(iter(shows), None)


class WrittenTimes:
    """Reads the written times of one column, of which all must have one form.

    All have their dates in one order, and either all name a zone or none does. Times with zones are read by their
    zones; a time without a zone is taken as UTC.

    Args:
        where: From the number of a row (or line) to its place, for error lines.
        day_first: Whether ``03/04/2018`` is the third of April; None: such texts are refused (see `day_comes_first`).
    """

    def __init__(self, where: Callable[[int], str], day_first: bool | None = None) -> None:
        self._where, self._day_first = where, day_first
        self._first: tuple[int, str, WrittenTime] | None = None

    def nanoseconds(self, text: str, place: int) -> int:
        """Read one text as nanoseconds since 1970 in UTC.

        Args:
            text: The text.
            place: The number of its row or line.

        Raises:
            InputError: When it is no time, or has another form than the first text.
        """
        return self._moment(self._parse(text, place), text, place)

    def all_nanoseconds(self, texts: Sequence[str]) -> list[int]:
        """Read a whole column, which itself settles whether days come first.

        Args:
            texts: The texts; the place of each is its number, from 0.

        Raises:
            InputError: When a text is no time, or has another form than the first one.
        """
        times = [(place, text, self._parse(text, place)) for place, text in enumerate(texts)]
        if times and times[0][2].kind == NUMBERS:
            self._day_first = day_comes_first(times, self._where)
        return [self._moment(written, text, place) for place, text, written in times]

    def _parse(self, text: str, place: int) -> WrittenTime:
        try:
            written = parse_written_time(text.strip())
        except ValueError as cause:
            raise self._unreadable(text, place, cause) from cause
        if self._first is None:
            self._first = place, text, written
        first = self._first[2]
        if (written.zone is None) != (first.zone is None) or written.kind != first.kind:
            raise self._other_form(text, place, written)
        return written

    def _moment(self, written: WrittenTime, text: str, place: int) -> int:
        month, day = written.month, written.day
        if written.kind == NUMBERS and self._day_first:
            month, day = day, month
        try:
            if written.kind == NUMBERS and self._day_first is None:
                raise ValueError("may have the day or the month first")
            days = _ordinal(written.year, month, day) - _EPOCH
        except ValueError as cause:
            raise self._unreadable(text, place, cause) from cause
        return (days * 86_400 - (written.zone or 0)) * NANO + written.clock

    def _unreadable(self, text: str, place: int, cause: ValueError) -> InputError:
        reason = f": it {cause}" if str(cause) else ""
        return InputError(
            f"{text!r} is no date or time that can be read{reason}", where=self._where(place), remedy=_REMEDY
        )

    def seconds(self, text: str, place: int) -> float:
        """Read one text as `nanoseconds` does.

        Returns:
            Seconds since 1970 in UTC: a whole number (int) where the text has no fraction.
        """
        whole, rest = divmod(self.nanoseconds(text, place), NANO)
        return whole + rest / NANO if rest else whole

    def _other_form(self, text: str, place: int, written: WrittenTime) -> InputError:
        assert self._first is not None
        first_place, first_text, first = self._first
        if written.kind != first.kind:
            problem = f"{text!r} is written with {written.kind}, and {first_text!r} with {first.kind}"
        elif written.zone is None:
            problem = f"{text!r} names no time zone, and {first_text!r} does"
        else:
            problem = f"{text!r} names its time zone, and {first_text!r} does not"
        return InputError(f"{problem} ({self._where(first_place)})", where=self._where(place), remedy=_REMEDY)


def _ordinal(year: int, month: int, day: int) -> int:
    try:
        return date(year, month, day).toordinal()
    except ValueError:
        raise ValueError("names a day that no month has") from None
