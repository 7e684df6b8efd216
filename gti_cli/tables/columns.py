"""Input tables (Parquet, CSV, JSONL) read with the checks that every stage needs, and Parquet written reproducibly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


def ids(table: pa.Table, column: str, path: Path | str, *, unique: bool = False) -> list[str]:
    """Return an id column as strings; ids must be strings or integers and none may be missing.

    Raises:
        InputError: a missing or empty id, another type, or (``unique``) a duplicate; with the first row concerned.
    """
    import pyarrow as pa

    kind = table.schema.field(column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        raise InputError(
            f"ids must be strings or integers, not {kind}",
            where=f"{path}, column {column!r}",
            remedy="convert the column",
        )
    values = table.column(column).to_pylist()
    seen: dict[str, int] = {}
    out: list[str] = []
    for row, value in enumerate(values, start=1):
        where = f"{path}, column {column!r}, row {row:,}"
        if value is None or value == "":
            raise InputError("the id is missing", where=where, remedy="give every row an id or drop the row")
        text = str(value)
        if unique:
            if text in seen:
                raise InputError(
                    f"duplicate id {text!r} (first in row {seen[text]:,})",
                    where=where,
                    remedy="keep one row for each id",
                )
            seen[text] = row
        out.append(text)
    return out


def strings(table: pa.Table, column: str, path: Path | str) -> list[str]:
    """Return a text column with surrounding white space removed; missing values become ``""``.

    Lists of strings (as catalogues often keep categories), also lists of such lists, are joined with ``" > "``.
    """
    import pyarrow as pa

    kind = table.schema.field(column).type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [" > ".join(map(str, _flat(value))) for value in table.column(column).to_pylist()]
    if pa.types.is_floating(kind) or pa.types.is_nested(kind):
        raise InputError(f"must be text, not {kind}", where=f"{path}, column {column!r}", remedy="convert the column")
    return ["" if value is None else str(value).strip() for value in table.column(column).to_pylist()]


def _flat(value: Any) -> Iterator[Any]:
    """The values in lists of any depth; what is missing is left out."""
    if isinstance(value, list):
        for part in value:
            yield from _flat(part)
    elif value is not None:
        yield value


def integers(table: pa.Table, column: str, path: Path | str) -> npt.NDArray[np.int64]:
    """Return a column of whole numbers, or of times in their own unit, as int64.

    Raises:
        InputError: another type, a missing or fractional value, one beyond 64 bits; with the first row concerned.
    """
    import numpy as np
    import pyarrow as pa

    values = table.column(column).combine_chunks()
    where = f"{path}, column {column!r}"
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("us"))
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())  # in the column's own unit: callers only order them, and ns do not fit in us
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        if pa.types.is_string(values.type) and (row := _first_wordy(values.to_pylist())) is not None:
            where, found = f"{where}, row {row + 1:,}", f"the text {values[row].as_py()!r}"
        else:
            found = str(values.type)
        raise InputError(f"must be numbers or times, not {found}", where=where, remedy="convert the column")
    if values.null_count:
        row = values.is_null().to_pylist().index(True) + 1
        raise InputError("the value is missing", where=f"{where}, row {row:,}", remedy="fill it in or drop the row")
    numbers = values.to_numpy(zero_copy_only=False)
    if np.issubdtype(numbers.dtype, np.floating):
        wrong = np.flatnonzero(~np.isfinite(numbers) | (numbers != np.trunc(numbers)))
        if len(wrong):
            raise InputError(
                f"{numbers[wrong[0]]} is no whole number", where=f"{where}, row {wrong[0] + 1:,}", remedy="use integers"
            )
    if numbers.dtype == np.uint64:
        wrong = np.flatnonzero(numbers > np.uint64(2**63 - 1))
    elif np.issubdtype(numbers.dtype, np.floating):
        wrong = np.flatnonzero(np.abs(numbers.astype(np.float64)) >= 2.0**63)
    else:
        wrong = np.empty(0, dtype=np.intp)
    if len(wrong):
        raise InputError(
            f"{numbers[wrong[0]]} does not fit in 64 bits", where=f"{where}, row {wrong[0] + 1:,}", remedy="correct it"
        )
    return np.asarray(numbers, dtype=np.int64)


def _first_wordy(values: Sequence[str | None]) -> int | None:
    """Row of the first text that is no number, which is why a CSV's column is text."""
    for row, value in enumerate(values):
        try:
            float(value or 0)
        except ValueError:
            return row
    return None


def vectors(
    table: pa.Table, column: str, path: Path | str, *, first_row: int = 1, width: int | None = None
) -> npt.NDArray[np.float32]:
    """Return a column of number lists as an (N, d) float32 matrix.

    Args:
        table, column, path: what to convert, and for error lines where it came from. first_row: number of the table's
            first row there. width: d, where earlier rows have set it.

    Raises:
        InputError: missing, ragged, empty, NaN or infinite vectors, with the first row concerned.
    """
    import numpy as np
    import pyarrow as pa

    values = table.column(column).combine_chunks()
    where = f"{path}, column {column!r}"
    if not (
        pa.types.is_list(values.type) or pa.types.is_large_list(values.type) or pa.types.is_fixed_size_list(values.type)
    ):
        raise InputError(
            f"must be lists of numbers, not {values.type}", where=where, remedy="store one list in each row"
        )
    inner = values.type.value_type
    if not (pa.types.is_floating(inner) or pa.types.is_integer(inner)):
        raise InputError(f"must be lists of numbers, not of {inner}", where=where, remedy="convert the column")
    if values.null_count:
        row = values.is_null().to_pylist().index(True) + first_row
        raise InputError("the vector is missing", where=f"{where}, row {row:,}", remedy="fill it in or drop the row")
    lengths = np.asarray(values.value_lengths())
    width = int(lengths[0]) if width is None else width
    wrong = np.flatnonzero(lengths != width)
    if width == 0 or len(wrong):
        at = int(wrong[0]) if len(wrong) else 0
        row = at + first_row
        problem = f"{lengths[at]} numbers where the first row has {width}" if width else "the vector is empty"
        raise InputError(problem, where=f"{where}, row {row:,}", remedy="give every row a vector of the same length")
    flat = values.flatten()
    if flat.null_count:
        row = flat.is_null().to_pylist().index(True) // width + first_row
        raise InputError("a number is missing", where=f"{where}, row {row:,}", remedy="fill it in")
    matrix = np.asarray(flat.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(-1, width)
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise InputError(
            "NaN or infinite number",
            where=f"{where}, row {bad[0] + first_row:,}",
            remedy="encode these items again or drop them",
        )
    return matrix
