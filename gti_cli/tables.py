"""Input tables (Parquet, CSV, JSONL) read with the checks that every stage needs, and Parquet written reproducibly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError, examples
from gti_cli.files import replacing
from gti_cli.table_files import PARQUET, parse

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


@dataclass(frozen=True)
class SemanticIDs:
    """The semantic IDs of a catalogue.

    Attributes:
        item_ids: the N item ids, in the catalogue's order.
        codes: (N, L) int32, the code of each item in each level.
        tokens: N strings, e.g. ``"<a_12><b_3><c_7>"``: the item's codes as new tokens, in the order generated.
    """

    item_ids: list[str]
    codes: npt.NDArray[np.int32]
    tokens: list[str]

    @property
    def levels(self) -> int:
        """Number of codes in a semantic ID."""
        return int(self.codes.shape[1])

    def row_of(self) -> dict[str, int]:
        """Map each item id to its row."""
        return {item: row for row, item in enumerate(self.item_ids)}


def read(path: Path | str, columns: Sequence[str] = (), *, skip: Sequence[str] = ()) -> pa.Table:
    """Read a ``.parquet``, ``.csv`` or ``.jsonl`` (``.json``) table and check that it has rows and ``columns``.

    Columns in ``skip`` are not loaded from Parquet, where that is possible.

    Raises:
        InputError: no such file, an unknown ending, a broken file, a column missing or there twice, no rows.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file", where=str(path), remedy="check the path")
    if path.is_dir():
        raise InputError(
            "this is a folder, not a table", where=str(path), remedy="give a .parquet, .csv or .jsonl file"
        )
    table = parse(path, skip)
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise InputError(
            f"column {examples(missing)} is missing (it has {', '.join(table.column_names)})",
            where=str(path),
            remedy="add the column or rename yours",
        )
    if table.num_rows == 0:
        raise InputError("the table has no rows", where=str(path), remedy="give a table with at least one row")
    return table


def column_names(path: Path | str, table: pa.Table) -> list[str]:
    """The columns of the file that `read` gave as ``table``, those skipped included."""
    if Path(path).suffix.lower() not in PARQUET:
        return list(table.column_names)
    import pyarrow.parquet as pq

    return list(pq.read_schema(path).names)


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


def read_semantic_ids(path: Path | str) -> SemanticIDs:
    """Read ``semantic_ids.parquet`` (`item_id`, `codes`, `tokens`).

    Raises:
        InputError: a missing column, duplicate ids, ragged codes.
    """
    import numpy as np

    table = read(path, ["item_id", "codes", "tokens"])
    codes = vectors(table, "codes", path).astype(np.int32)
    return SemanticIDs(ids(table, "item_id", path, unique=True), codes, strings(table, "tokens", path))


def write(path: Path | str, columns: Mapping[str, Any] | pa.Table) -> None:
    """Write columns (lists, arrays) or a table as Parquet; the same content gives the same bytes.

    Written to a temporary name and renamed, so that a reader never sees half a file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    table = columns if isinstance(columns, pa.Table) else pa.table(dict(columns))
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(None), temporary, compression="zstd")
