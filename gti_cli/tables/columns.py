"""Read one column of an input table, with the checks that every stage needs.

Every error names the file, the column and the first row concerned; rows are counted from 1, below the header. The
``path`` that the functions take serves these error lines only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError, first_line, list_some
from gti_cli.tables.arrays.user_lists import Texts
from gti_cli.tables.near_misses import near_miss
from gti_cli.tables.text_types import id_texts, number_texts, readable_column
from gti_cli.workspace.remarks import remark

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


def ids(table: pa.Table, column: str, path: Path | str, *, unique: bool = False) -> list[str]:
    """Return a column of ids as strings; they may be strings or whole numbers of any type.

    Args:
        table: What `gti_cli.tables.read` returned.
        column: The name of the column.
        path: The file that the table was read from.
        unique: Refuse an id that occurs twice.

    Raises:
        InputError: When the column has another type, or a number is no whole number.
        InputError: When an id is missing, empty or white space alone. (A token may be white space.)
        InputError: When an id occurs twice and ``unique`` is true.
    """
    given, converted_from = id_texts(table, column, path)
    if converted_from is not None:
        what = f"its {len(given):,} ids became whole numbers (7, not 7.0)"
        remark(path, f"column {column!r} is of type {converted_from}: {what}")
    what = "token" if column == "token" else "id"
    may_be_blank = what == "token"
    if (
        all(given)
        and (may_be_blank or not any(text.isspace() for text in given if text))
        and not (unique and len(set(given)) < len(given))
    ):
        return [text for text in given if text]
    row_of: dict[str, int] = {}
    texts: list[str] = []
    for row, text in enumerate(given, start=1):
        if not text or (text.isspace() and not may_be_blank):
            where = f"{path}, column {column!r}, row {row:,}"
            problem = f"the id {text!r} is white space alone" if text else f"the {what} is missing"
            raise InputError(problem, where=where, remedy="give every row one, or drop the row")
        if unique:
            first = row_of.setdefault(text, row)
            if first != row:
                raise InputError(
                    f"duplicate {what} {text!r} (first in row {first:,})",
                    where=f"{path}, column {column!r}, row {row:,}",
                    remedy=f"keep one row for each {what}",
                )
        texts.append(text)
    return texts


def strings(table: pa.Table, column: str, path: Path | str, *, strip: bool = True, first_row: int = 1) -> list[str]:
    """Return a column of text; missing values become ``""``.

    Lists of strings, also nested ones, are joined with ``" > "``; catalogues often store categories in this way.
    Numbers are written as people write them: ``12.9``, ``15``.

    Args:
        table: What `gti_cli.tables.read` returned.
        column: The name of the column.
        path: The file that the table was read from.
        strip: Remove white space at either end of each text.
        first_row: The number of the table's first row in the file, where the table is a part of it.

    Raises:
        InputError: When the column holds nested objects.
    """
    import pyarrow as pa

    values = readable_column(table, column, path, first_row)
    kind = values.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [" > ".join(map(str, _leaves(value))) for value in values.to_pylist()]
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return number_texts(values)
    if pa.types.is_nested(kind):
        raise InputError(f"must be text, not {kind}", where=f"{path}, column {column!r}", remedy="convert the column")
    try:
        texts = ["" if value is None else str(value) for value in values.to_pylist()]
    except (OverflowError, ValueError) as cause:  # a date after the year 9999, for example
        raise InputError(
            f"a value of type {kind} cannot be read: {first_line(cause)}",
            where=f"{path}, column {column!r}",
            remedy="write the column as text",
        ) from cause
    return [text.strip() for text in texts] if strip else texts


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

    values = readable_column(table, column, path).combine_chunks()
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


def name_unread(table: pa.Table, known: Collection[str], path: Path | str, what: str = "not read") -> None:
    """Remark on the columns of a table that no stage reads, so that nobody believes that they count.

    Args:
        table: What `gti_cli.tables.read` returned.
        known: Names of the columns that some stage reads.
        path: The file that the table was read from.
        what: What is said of them.
    """
    unread = [name for name in table.column_names if name not in known]
    if unread:
        remark(path, f"{what}: column{'s' if len(unread) > 1 else ''} {list_some(unread, 10)}")


def refuse_unknown_items(
    items: Sequence[str],
    catalogue: Collection[str],
    path: Path | str,
    rows: str,
    codes: npt.NDArray[np.int32] | None = None,
) -> None:
    """Refuse a table with items that have no semantic ID.

    Args:
        items: The column ``item_id``; with ``codes`` its different items, in the order of their first rows.
        catalogue: The ids of all items that have a semantic ID.
        path: The file that the table was read from.
        rows: What a row of the table is called in the error line.
        codes: (N,) which of ``items`` stands in each row. None: the rows are ``items``.

    Raises:
        InputError: When an item is not in the catalogue.
    """
    members = catalogue if isinstance(catalogue, Set | Mapping) else set(catalogue)
    if isinstance(items, Texts) and isinstance(members, Mapping):
        unknown = items.unknown(members)
    else:
        unknown = list(dict.fromkeys(item for item in items if item not in members))
    if unknown:
        miss = near_miss(unknown, members)
        first = items.index(unknown[0])
        row = first if codes is None else int((codes == first).argmax())
        raise InputError(
            f"items without a semantic ID: {list_some(unknown)}{miss.problem if miss else ''}",
            where=f"{path}, column 'item_id', row {row + 1:,}",
            remedy=miss.remedy
            if miss
            else f"drop these {rows}, or run 'gti build-ids' on a catalogue that has the items",
        )
