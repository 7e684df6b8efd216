"""Times as whole numbers that can be ordered and compared with dates."""

from __future__ import annotations

from datetime import datetime, timezone

from gti_cli.errors import InputError

SECONDS, MILLISECONDS, POSITIONS = "seconds", "milliseconds", "positions"
PER_SECOND = {SECONDS: 1, MILLISECONDS: 1000}


def parse_time(text: str, pattern: str | None = None) -> int:
    """A written time as seconds since 1970 in UTC; a time without a zone is taken as UTC.

    Args:
        text: The time, for example ``2018-05-30`` or ``11/13/2019 8:36:57 AM``.
        pattern: Its form, as `datetime.strptime` has it. None: ISO 8601.

    Returns:
        Whole seconds.

    Raises:
        ValueError: The text is no such time.
    """
    text = text.strip()
    if pattern is None and text.isdigit() and len(text) == 8:
        pattern = "%Y%m%d"
    if pattern is None:
        # Python 3.10 does not know the letter for UTC.
        moment = datetime.fromisoformat(text.removesuffix("Z") + "+00:00" if text.endswith("Z") else text)
    else:
        moment = datetime.strptime(text, pattern)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return int(moment.timestamp())


def parse_bound(text: str | None, unit: str, option: str, *, end: bool = False) -> int | None:
    """A date or time of ``--since`` or ``--until`` in the unit of the data.

    Args:
        text: What the caller wrote: ISO 8601, or a whole number in the unit itself. None: no bound.
        unit: The unit of the data's times.
        option: The option, for the error.
        end: A date without a time of day means the end of that day.

    Returns:
        The bound, inclusive.

    Raises:
        InputError: The text is no time, or the data has positions instead of times.
    """
    if text is None:
        return None
    if unit == POSITIONS:
        raise InputError(f"{option} needs times, and this data has none", remedy="leave the option out")
    if text.lstrip("-").isdigit() and len(text) != 8:
        return int(text)
    try:
        seconds = parse_time(text)
    except ValueError as cause:
        raise InputError(
            f"{option} {text!r} is no date", remedy="write it as 2018-05-30 or 2018-05-30T12:00:00"
        ) from cause
    whole_day = end and len(text) <= len("2018-05-30")
    # The last moment of a day: one unit before the next day begins.
    return (seconds + 86_400) * PER_SECOND[unit] - 1 if whole_day else seconds * PER_SECOND[unit]
