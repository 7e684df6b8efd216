"""Read one column of an input table, with the checks that every stage needs.

Every error names the file, the column and the first row concerned; rows are counted from 1, below the header. The
``path`` that the functions take serves these error lines only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError, list_some

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


def ids(table: pa.Table, column: str, path: Path | str, *, unique: bool = False) -> list[str]:
    """Return a column of ids as strings; they may be strings or integers.

    Args:
        table: What `gti_cli.tables.read` returned.
        column: The name of the column.
        path: The file that the table was read from.
        unique: Refuse an id that occurs twice.

    Raises:
        InputError: When the column has another type.
        InputError: When an id is missing or empty.
        InputError: When an id occurs twice and ``unique`` is true.
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
    row_of: dict[str, int] = {}
    texts: list[str] = []
    for row, value in enumerate(values, start=1):
        where = f"{path}, column {column!r}, row {row:,}"
        if value is None or value == "":
            raise InputError("the id is missing", where=where, remedy="give every row an id or drop the row")
        text = str(value)
        if unique:
            if text in row_of:
                raise InputError(
                    f"duplicate id {text!r} (first in row {row_of[text]:,})",
                    where=where,
                    remedy="keep one row for each id",
                )
            row_of[text] = row
        texts.append(text)
    return texts


def strings(table: pa.Table, column: str, path: Path | str) -> list[str]:
    """Return a column of text, with surrounding white space removed; missing values become ``""``.

    Lists of strings, also nested ones, are joined with ``" > "``; catalogues often store categories in this way.

    Raises:
        InputError: When the column holds fractions or nested objects.
    """
    import pyarrow as pa

    kind = table.schema.field(column).type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [" > ".join(map(str, _leaves(value))) for value in table.column(column).to_pylist()]
    if pa.types.is_floating(kind) or pa.types.is_nested(kind):
        raise InputError(f"must be text, not {kind}", where=f"{path}, column {column!r}", remedy="convert the column")
    return ["" if value is None else str(value).strip() for value in table.column(column).to_pylist()]


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the values in nested lists; None is skipped."""
    if isinstance(value, list):
        for element in value:
            yield from _leaves(element)
    elif value is not None:
        yield value


def integers(table: pa.Table, column: str, path: Path | str) -> npt.NDArray[np.int64]:
    """Return a column of whole numbers as int64. Times are read by `gti_cli.tables.times.read_times`.

    Raises:
        InputError: When the column has another type.
        InputError: When a value is missing, fractional or beyond 64 bits.
    """
    import pyarrow as pa

    values = table.column(column).combine_chunks()
    where = f"{path}, column {column!r}"
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        content = str(values.type)
        # A CSV column with one word in it is read as text: name that word.
        if pa.types.is_string(values.type) and (row := _first_non_number(values.to_pylist())) is not None:
            where, content = f"{where}, row {row + 1:,}", f"the text {values[row].as_py()!r}"
        raise InputError(f"must be numbers, not {content}", where=where, remedy="convert the column")
    if values.null_count:
        row = values.is_null().to_pylist().index(True) + 1
        raise InputError("the value is missing", where=f"{where}, row {row:,}", remedy="fill it in or drop the row")
    return whole_numbers(values, where)


def whole_numbers(values: pa.Array, where: str) -> npt.NDArray[np.int64]:
    """Return integers or floating-point numbers, none of which is missing, as int64.

    Args:
        values: The numbers.
        where: File and column, for error lines.

    Raises:
        InputError: When a value is fractional or beyond 64 bits.
    """
    import numpy as np

    numbers = values.to_numpy(zero_copy_only=False)
    if np.issubdtype(numbers.dtype, np.floating):
        wrong = np.flatnonzero(~np.isfinite(numbers) | (numbers != np.trunc(numbers)))
        if len(wrong):
            raise InputError(
                f"{numbers[wrong[0]]} is no whole number", where=f"{where}, row {wrong[0] + 1:,}", remedy="use integers"
            )
    # Casting to int64 would turn larger values into other numbers without an error.
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


def _first_non_number(values: Sequence[str | None]) -> int | None:
    """Return the index of the first text that is no number, or None."""
    for row, value in enumerate(values):
        try:
            float(value or 0)
        except ValueError:
            return row
    return None


def vectors(
    table: pa.Table, column: str, path: Path | str, *, first_row: int = 1, width: int | None = None
) -> npt.NDArray[np.float32]:
    """Return a column of number lists as a matrix.

    Args:
        table: The table, of N rows.
        column: The name of the column.
        path: The file that the table was read from.
        first_row: The number of the table's first row in the file, where the table is a part of it.
        width: The length d that earlier parts have set; None means the length of the first vector.

    Returns:
        (N, d) float32.

    Raises:
        InputError: When the column has another type.
        InputError: When a vector or a number in it is missing, NaN or infinite.
        InputError: When a vector is empty or has another length than the first one.
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
        index = int(wrong[0]) if len(wrong) else 0
        row = index + first_row
        problem = f"{lengths[index]} numbers where the first row has {width}" if width else "the vector is empty"
        raise InputError(problem, where=f"{where}, row {row:,}", remedy="give every row a vector of the same length")
    flat = values.flatten()
    if flat.null_count:
        row = flat.is_null().to_pylist().index(True) // width + first_row
        raise InputError("a number is missing", where=f"{where}, row {row:,}", remedy="fill it in")
    matrix = np.asarray(flat.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(-1, width)
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise InputError(
            "the vector holds NaN or infinity",
            where=f"{where}, row {bad[0] + first_row:,}",
            remedy="encode these items again or drop them",
        )
    return matrix


def refuse_unknown_items(items: Sequence[str], catalogue: Collection[str], path: Path | str, rows: str) -> None:
    """Refuse a table with items that have no semantic ID.

    Args:
        items: The column ``item_id``.
        catalogue: The ids of all items that have a semantic ID.
        path: The file that the table was read from.
        rows: What a row of the table is called in the error line.

    Raises:
        InputError: When an item is not in the catalogue.
    """
    members = catalogue if isinstance(catalogue, set | frozenset | dict) else set(catalogue)
    unknown = list(dict.fromkeys(item for item in items if item not in members))
    if unknown:
        raise InputError(
            f"items without a semantic ID: {list_some(unknown)}",
            where=f"{path}, column 'item_id', row {items.index(unknown[0]) + 1:,}",
            remedy=f"drop these {rows}, or run 'gti build-ids' on a catalogue that has the items",
        )
