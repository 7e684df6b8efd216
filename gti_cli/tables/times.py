"""Read a column of times, whatever type it has, as numbers that order the rows as the times do.

Numbers stay as they are, also fractions. Dates and timestamps become whole numbers in the unit of the column. Text may
hold numbers or written times (`gti_cli.tables.written_times`). What would put two different times in one place, such as
seconds since 1970 in float32, is refused with the reason.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError
from gti_cli.tables.columns import whole_numbers
from gti_cli.tables.text_types import readable_column
from gti_cli.tables.written_times import WrittenTimes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_MICRO = 1000  # nanoseconds
_DIGITS = {"float32": 24, "float16": 11}  # binary digits of a whole number


def read_times(table: pa.Table, column: str, path: Path | str) -> npt.NDArray[np.int64] | npt.NDArray[np.float64]:
    """Read a column of times.

    Args:
        table: The table, of N rows.
        column: The name of the column.
        path: The file that the table was read from, for error lines.

    Returns:
        (N,) int64, or float64 where numbers have fractions. A later time is a larger number, and equal times are equal
        numbers; the unit is that of the column, or no unit where decimals or fractions in text are ranked.

    Raises:
        InputError: When the column has another type, or holds different times in a type that cannot tell them apart.
        InputError: When a time is missing, or a text is no time or may be one of two times.
    """
    import pyarrow as pa

    where = f"{path}, column {column!r}"
    values = readable_column(table, column, path)
    kind = values.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    # Texts of more than 2 GiB do not fit into one array of the type string.
    array = (values.cast(pa.large_string()) if is_text else values).combine_chunks()
    if array.null_count:
        raise _missing(where, array.is_null().to_pylist().index(True))
    if is_text:
        return _from_text(array, where)
    if pa.types.is_floating(kind):
        return _from_fractions(array.to_numpy(zero_copy_only=False), where)
    if pa.types.is_decimal(kind):
        return _ranks(array.to_pylist())
    if pa.types.is_date(kind):
        array = array.cast(pa.timestamp("ms"))
    if pa.types.is_timestamp(array.type) or pa.types.is_duration(kind):
        array = array.cast(pa.int64())
    if not pa.types.is_integer(array.type):
        raise InputError(
            f"must be numbers or times, not {kind}",
            where=where,
            remedy="a time of day needs its date" if pa.types.is_time(kind) else "convert the column",
        )
    return whole_numbers(array, where)


def _missing(where: str, row: int) -> InputError:
    return InputError("the value is missing", where=f"{where}, row {row + 1:,}", remedy="fill it in or drop the row")


def too_large_for(kind: str, largest: float) -> bool:
    """Tell whether a floating-point type has no place for each whole number up to the largest of a column.

    Args:
        kind: ``float32`` or ``float16``.
        largest: The largest number.
    """
    return abs(largest) > 2.0 ** _DIGITS[kind]


def narrow_type_error(value: float, kind: str, where: str) -> InputError:
    """Make the error for a time that is too large for its type.

    Args:
        value: The time.
        kind: ``float32`` or ``float16``.
        where: Its place.
    """
    return InputError(
        f"{kind} holds whole numbers up to {2 ** _DIGITS[kind]:,} exactly, and here is {value:.0f}: times that differ "
        "have become equal in it",
        where=where,
        remedy="write the column again from its source, as int64 or float64",
    )


def _from_fractions(numbers: npt.NDArray[Any], where: str) -> npt.NDArray[np.int64] | npt.NDArray[np.float64]:
    """Return floating-point numbers: int64 where all are whole, else as they are."""
    import numpy as np
    import pyarrow as pa

    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        raise InputError(
            f"{numbers[wrong[0]]} is no time",
            where=f"{where}, row {wrong[0] + 1:,}",
            remedy="fill it in or drop the row",
        )
    if numbers.dtype != np.float64:
        wrong = np.flatnonzero(np.abs(numbers) > 2.0 ** _DIGITS[str(numbers.dtype)])
        if len(wrong):
            row = int(wrong[0])
            raise narrow_type_error(float(numbers[row]), str(numbers.dtype), f"{where}, row {row + 1:,}")
        numbers = numbers.astype(np.float64)
    if bool((numbers == np.trunc(numbers)).all()):
        return whole_numbers(pa.array(numbers), where)
    return np.asarray(numbers, dtype=np.float64)


def _ranks(values: list[Decimal]) -> npt.NDArray[np.int64]:
    """Return the rank of each value; equal values share one. Decimals may have more digits than any number of numpy."""
    import numpy as np

    rank_of = {value: rank for rank, value in enumerate(sorted(set(values)))}
    return np.fromiter((rank_of[value] for value in values), dtype=np.int64, count=len(values))


def _from_text(array: pa.LargeStringArray, where: str) -> npt.NDArray[np.int64]:
    """Return the times of a column of text; all rows hold numbers, or all hold written times of one form."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.utf8_trim_whitespace(array)
    empty = pc.index(texts, "").as_py()
    if empty >= 0:
        raise _missing(where, empty)
    # Whole numbers and plain ISO 8601, the usual cases, are read without a loop over the rows.
    if pc.all(pc.match_substring_regex(texts, r"^-?[0-9]{1,18}$")).as_py():
        return whole_numbers(texts.cast(pa.int64()), where)
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return whole_numbers(texts.cast(kind).cast(pa.int64()), where)
        except pa.ArrowInvalid:
            continue
    return _from_any_text(texts.dictionary_encode(), where)


def _from_any_text(encoded: pa.DictionaryArray, where: str) -> npt.NDArray[np.int64]:
    """Return the times of a column of text, reading each different text once."""
    import numpy as np

    indices = np.asarray(encoded.indices)
    texts: list[str] = encoded.dictionary.to_pylist()

    def place(number: int) -> str:
        """Return the place of the first row with a text."""
        return f"{where}, row {int(np.argmax(indices == number)) + 1:,}"

    if NUMBER.fullmatch(texts[0]):
        for number, text in enumerate(texts):
            if not NUMBER.fullmatch(text):
                raise InputError(
                    f"must be numbers or times, not the text {text!r} beside the number {texts[0]!r}",
                    where=place(number),
                    remedy="convert the column",
                )
        ranks: npt.NDArray[np.int64] = _ranks([Decimal(text) for text in texts])[indices]
        return ranks
    moments = WrittenTimes(place).all_nanoseconds(texts)
    if all(moment % _MICRO == 0 for moment in moments):  # then years far from 1970 fit in 64 bits, too
        moments = [moment // _MICRO for moment in moments]
    if max(map(abs, moments)) >= 2**63:
        number = max(range(len(moments)), key=lambda number: abs(moments[number]))
        raise InputError(
            f"{texts[number]!r} in nanoseconds does not fit in 64 bits", where=place(number), remedy="correct it"
        )
    values: npt.NDArray[np.int64] = np.asarray(moments, dtype=np.int64)[indices]
    return values
