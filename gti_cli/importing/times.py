"""Units of an import's times, and the bounds ``--since`` and ``--until`` in them.

Written times themselves are read by `gti_cli.tables.written_times`.
"""

from __future__ import annotations

from collections.abc import Callable

from gti_cli.errors import InputError
from gti_cli.tables.times import NUMBER, narrow_type_error, too_large_for
from gti_cli.tables.written_times import NANO, YEAR_FIRST, WrittenTimes, parse_written_time

SECONDS, MILLISECONDS, POSITIONS = "seconds", "milliseconds", "positions"
MICROSECONDS, NANOSECONDS = "microseconds", "nanoseconds"
PER_SECOND = {SECONDS: 1, MILLISECONDS: 10**3, MICROSECONDS: 10**6, NANOSECONDS: 10**9}
_DAY = 86_400
_MISSING = ("", "nan", "nat", "none", "null", "<na>")
# Seconds since 1970 reach this number in the year 5138, milliseconds in 1973.
_TOO_MANY_SECONDS = 10**11


def unit_of(largest: float) -> str:
    """Tell the unit of numbers since 1970 from their size.

    Args:
        largest: The largest of the numbers.
    """
    if largest < _TOO_MANY_SECONDS:
        return SECONDS
    return next(
        (unit for unit in (MILLISECONDS, MICROSECONDS) if largest < _TOO_MANY_SECONDS * PER_SECOND[unit]), NANOSECONDS
    )


def parse_bound(text: str | None, unit: str, option: str, *, end: bool = False) -> int | None:
    """Read a date or time of ``--since`` or ``--until`` in the unit of the data.

    Args:
        text: What the caller wrote: ISO 8601, or a whole number in the unit itself. None: no bound.
        unit: The unit of the data's times.
        option: The option, for the error.
        end: A date without a time of day means the end of that day.

    Returns:
        The bound, inclusive.

    Raises:
        InputError: When the text is no time, or the data has positions instead of times.
    """
    if text is None:
        return None
    if unit == POSITIONS:
        raise InputError(f"{option} needs times, and this data has none", remedy="leave the option out")
    text = text.strip()
    if text.lstrip("-").isdigit() and len(text) != 8:
        return int(text)
    try:
        is_iso = parse_written_time(text).kind == YEAR_FIRST
        nanoseconds = WrittenTimes(lambda _: option).nanoseconds(text, 0) if is_iso else None
    except (ValueError, InputError):
        nanoseconds = None
    if nanoseconds is None:
        raise InputError(f"{option} {text!r} is no date", remedy="write it as 2018-05-30 or 2018-05-30T12:00:00")
    whole_day = end and len(text) <= len("2018-05-30")
    # The last moment of a day: one unit before the next day begins.
    scaled = (nanoseconds + whole_day * _DAY * NANO) * PER_SECOND[unit]
    if whole_day:
        return scaled // NANO - 1
    return scaled // NANO if end else -(-scaled // NANO)


class ColumnTimes:
    """Reads the times of one column, which are all numbers or all written times.

    Args:
        where: From the number of a line to its place, for error lines.
        day_first: See `gti_cli.tables.written_times.WrittenTimes`.
        narrow_type: ``float32`` or ``float16`` where the column has that type; else None.
    """

    def __init__(
        self, where: Callable[[int], str], day_first: bool | None = None, narrow_type: str | None = None
    ) -> None:
        self._where, self._narrow_type = where, narrow_type
        self._written = WrittenTimes(where, day_first)
        self._first: tuple[bool, object, int] | None = None  # whether the first time is a number; it and its line

    def read(self, value: object, line: int) -> float:
        """Read one time.

        Args:
            value: A number, a date or time, or a text.
            line: The number of its line.

        Returns:
            The number as it is, or seconds since 1970; int where it is whole.

        Raises:
            InputError: When the time is missing or cannot be read, or the column mixes numbers and written times.
        """
        text = str(value).strip()
        if value is None or text.lower() in _MISSING:
            raise InputError("the time is missing", where=self._where(line), remedy="fill it in or drop the row")
        is_number = bool(NUMBER.fullmatch(text))
        if self._first is None:
            self._first = is_number, value, line
        elif is_number != self._first[0]:
            raise InputError(
                f"the time {value!r} and the time {self._first[1]!r} ({self._where(self._first[2])}) have two forms",
                where=self._where(line),
                remedy="write all times of the column in one form",
            )
        if not is_number:
            return self._written.seconds(text, line)
        number = float(text)
        if self._narrow_type is not None and too_large_for(self._narrow_type, number):
            raise narrow_type_error(number, self._narrow_type, self._where(line))
        if abs(number) >= 2.0**63:
            raise InputError(
                f"the time {value!r} does not fit in 64 bits", where=self._where(line), remedy="correct it"
            )
        # int of the text, not of the float: nanoseconds since 1970 have more digits than a float holds.
        return int(text) if text.lstrip("+-").isdigit() else int(number) if number.is_integer() else number
