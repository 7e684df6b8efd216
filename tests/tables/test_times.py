"""Columns of times of every type: the order of the rows is the order of the times."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.times import read_times, too_large_for


def read(values: Any, kind: pa.DataType | None = None) -> np.ndarray:
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)
    return read_times(pa.table({"t": column}), "t", "log.parquet")


def ranks(values: list[Any]) -> list[int]:
    """The dense rank of each value, by Python's own comparison."""
    order = sorted(set(values))
    return [order.index(value) for value in values]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_integers_stay_as_they_are(values: list[int]) -> None:
    assert read(values, pa.int64()).tolist() == values
    assert read([str(value) for value in values if abs(value) < 10**18] or ["0"]).tolist() == (
        [value for value in values if abs(value) < 10**18] or [0]
    )


@given(st.lists(st.floats(-1e12, 1e12), min_size=1))
def test_fractions_are_never_cut_off(values: list[float]) -> None:
    found = read(values, pa.float64())
    assert found.tolist() == values and found.dtype in (np.int64, np.float64)


@given(st.lists(st.decimals(-(10**20), 10**20, places=12), min_size=1))
def test_decimals_and_numbers_in_text_are_compared_digit_by_digit(values: list[Decimal]) -> None:
    assert ranks(read(values, pa.decimal128(38, 12)).tolist()) == ranks(values)
    assert ranks(read([format(value, "f") for value in values]).tolist()) == ranks(values)


def test_whole_decimals_texts_with_exponents_and_spaces() -> None:
    found = read(["1.5e9", " 1500000000 ", "1500000000.000000001"])
    assert ranks(found.tolist()) == [0, 0, 1] and found.dtype == np.int64


def test_whole_numbers_in_text_keep_their_values() -> None:
    assert read(["20", "-3", "20"]).tolist() == [20, -3, 20]


@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_a_narrow_float_is_too_small_from_the_first_whole_number_that_it_cannot_hold(kind: str) -> None:
    value = 1
    while float(np.dtype(kind).type(value + 1)) == value + 1:
        value *= 2
    assert not too_large_for(kind, value) and not too_large_for(kind, -value)
    assert too_large_for(kind, value + 1) and too_large_for(kind, -value - 1)


@pytest.mark.parametrize(("kind", "largest"), [(pa.float32(), 2**24), (pa.float16(), 2**11)])
def test_narrow_floats_are_refused_where_they_cannot_hold_whole_numbers(kind: pa.DataType, largest: int) -> None:
    fits = pa.array(np.array([0, largest], dtype=kind.to_pandas_dtype()))
    assert read(fits).tolist() == [0, largest]
    with pytest.raises(
        InputError, match=rf"row 2: {np.dtype(kind.to_pandas_dtype())} holds whole numbers up to {largest:,} "
    ):
        read(pa.array(np.array([0, largest * 2], dtype=kind.to_pandas_dtype())))


def test_seconds_in_float32_name_the_column_and_the_remedy() -> None:
    seconds = np.array([1_531_001_351, 1_531_001_352], dtype=np.float32)
    assert seconds[0] == seconds[1]  # this is why
    with pytest.raises(InputError, match=r"log\.parquet, column 't', row 1: float32 .* as int64 or float64\.$"):
        read(pa.array(seconds))


def test_times_of_every_unit_keep_their_order() -> None:
    late, early = datetime(2024, 1, 2), datetime(2024, 1, 1)
    for kind in (pa.date32(), pa.date64(), *map(pa.timestamp, ("s", "ms", "us", "ns")), pa.timestamp("ns", "UTC")):
        first, second = read(pa.array([late, early]).cast(kind)).tolist()
        assert first > second, kind
    assert read(pa.array([2**60 + 2, 2**60 + 1]).cast(pa.timestamp("ns"))).tolist() == [2**60 + 2, 2**60 + 1]
    assert read([timedelta(1), timedelta(0, 5)], pa.duration("us")).tolist() == [86_400_000_000, 5_000_000]


@given(st.lists(st.datetimes(datetime(1000, 1, 1), datetime(9000, 1, 1)), min_size=1))
def test_written_times_are_ordered_as_datetimes_are(moments: list[datetime]) -> None:
    for texts in ([str(moment) for moment in moments], [moment.strftime("%d %b %Y %H:%M:%S.%f") for moment in moments]):
        as_bytes = pa.array([text.encode() for text in texts])
        for column in (
            pa.array(texts),
            pa.array(texts).dictionary_encode(),
            pa.array(texts, pa.large_string()),
            as_bytes,
        ):
            assert ranks(read(column).tolist()) == ranks(moments)
    aware = [moment.replace(tzinfo=timezone(timedelta(hours=n % 5))) for n, moment in enumerate(moments)]
    assert ranks(read([moment.isoformat() for moment in aware]).tolist()) == ranks(aware)


def test_nine_digits_of_a_second() -> None:
    texts = ["2018-05-30 12:00:00.123456789", "2018-05-30 12:00:00.123456788", "2018-05-30 12:00:00"]
    assert ranks(read(texts).tolist()) == [2, 1, 0]
    for column, row in (([texts[0], "3018-05-30"], 2), (["3018-05-30", texts[0]], 1)):
        with pytest.raises(InputError, match=rf"row {row}: '3018-05-30' in nanoseconds does not fit .* Correct it\.$"):
            read(column)


def test_the_last_nanosecond_of_64_bits() -> None:
    last = datetime(1970, 1, 1) + timedelta(seconds=(2**63 - 1) // 10**9)
    assert read([f"{last}.{(2**63 - 1) % 10**9}"]).tolist() == [2**63 - 1]
    with pytest.raises(InputError, match=r"row 1: .* does not fit in 64 bits"):
        read([f"{last}.{2**63 % 10**9}"])


def test_microseconds_of_far_years_are_told_apart() -> None:
    texts = ["30 May 8018 12:00:00.000002", "30 May 8018 12:00:00.000001", "30 May 1018"]
    assert ranks(read(texts).tolist()) == [2, 1, 0]


def test_a_column_settles_whether_days_come_first() -> None:
    assert ranks(read(["03/04/2018", "02/05/2018", "13/01/2018"]).tolist()) == [1, 2, 0]
    with pytest.raises(InputError, match=r"column 't', row 1: '04/03/2018' may have the day or the month first"):
        read(["04/03/2018", "03/04/2018"])


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([1, None], None, "row 2: the value is missing"),
        ([None, None], None, "row 1: the value is missing"),
        (["2018-05-30", " "], None, "row 2: the value is missing. Fill it in or drop the row"),
        ([" ", "2018-05-30"], None, "row 1: the value is missing"),
        ([1.0, float("nan")], None, "row 2: nan is no time. Fill it in or drop the row"),
        ([1.0, float("inf")], None, "row 2: inf is no time"),
        ([2**63 - 1, 2**63], pa.uint64(), "row 2: .* does not fit in 64 bits"),
        ([0.0, 1e19], None, "row 2: .* does not fit in 64 bits"),
        (["1", "x"], None, "row 2: must be numbers or times, not the text 'x' beside the number '1'. Convert"),
        (["1.5", "2018-05-30"], None, "row 2: must be numbers or times, not the text '2018-05-30'"),
        (["2018-05-30", "7"], None, "row 2: '7' is no date or time"),
        (["2018-05-30", "NaT"], None, "row 2: 'NaT' is no date or time"),
        (["0x10"], None, "row 1: '0x10' is no date or time"),
        (["2018-05-30 12:00", "2018-05-30 12:00Z"], None, "row 2: .* names its time zone"),
        ([True, False], None, "column 't': must be numbers or times, not bool. Convert the column"),
        ([1], pa.time32("s"), "must be numbers or times, not time32.* A time of day needs its date"),
        ([{"date": 1}], None, "must be numbers or times, not struct"),
        ([b"2018", b"\xff"], None, "row 2: .*UTF-8"),
    ],
)
def test_bad_times(values: list[Any], kind: pa.DataType | None, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(values, kind)
    assert str(caught.value).startswith("log.parquet, column 't'")


@pytest.mark.parametrize(
    "times",
    [
        ["2018-05-30T12:00:00+02:00", "2018-05-30T11:00:00Z", "2018-05-30T09:00:00Z"],
        ["30/05/2018 10:00:00", "30/05/2018 11:00:00", "30/05/2018 09:00:00"],
        ["1531001351.25", "1531001351.5", "1531001351"],
        ["05/30/2018 10:00 AM", "05/30/2018 1:00 PM", "05/30/2018 12:30 AM"],
    ],
)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_files_of_text(tmp_path: Path, times: list[str], ending: str) -> None:
    path = tmp_path / f"log.{ending}"
    rows = ["timestamp", *times] if ending == "csv" else [f'{{"timestamp": "{time}"}}' for time in times]
    path.write_text("\n".join(rows) + "\n")
    assert ranks(read_times(tables.read(path), "timestamp", path).tolist()) == [1, 2, 0]
