"""The many types in which files hold texts and ids, turned into plain strings.

Texts stand in Parquet files as strings, as binary (databases write them so), as views, as dictionaries, and ids also as
decimals or floating-point numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.errors import InputError, first_line
from gti_cli.tables.faults import refuse_faulty

if TYPE_CHECKING:
    import pyarrow as pa


def readable_column(table: pa.Table, column: str, path: Path | str, first_row: int = 1) -> pa.ChunkedArray:
    """Return a column in which all texts are plain strings; other values are as they were.

    Args:
        table: What `gti_cli.tables.read` returned.
        column: The name of the column.
        path: The file that the table was read from.
        first_row: The number of the table's first row in the file, where the table is a part of it.

    Raises:
        InputError: When the values of the column are of different kinds.
        InputError: When bytes are not UTF-8.
    """
    import pyarrow as pa

    refuse_faulty(table.schema.field(column))
    values = _without_extension(table.column(column))
    kind = plain_type(values.type)
    try:
        if kind != values.type or _holds_texts(kind) or pa.types.is_nested(kind):
            # Some programs write texts in other encodings as if they were UTF-8, and a damaged file may point anywhere.
            values.validate(full=True)
        return _cast(values, kind) if kind != values.type else values
    except (pa.ArrowInvalid, UnicodeDecodeError) as cause:
        row = _first_undecodable_row(values, kind)
        if row is None:
            raise InputError(
                f"the column is damaged: {first_line(cause)}",
                where=f"{path}, column {column!r}",
                remedy="write the file again",
            ) from cause
        raise InputError(
            "the bytes are no text in UTF-8",
            where=f"{path}, column {column!r}, row {row + first_row:,}",
            remedy="write the column as text, or drop it",
        ) from cause


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column once its texts are plain strings, also those inside of lists and dictionaries.

    Args:
        kind: The type of the column.
    """
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if types.is_large_binary(kind):
        return pa.large_string()
    # Of the views only what the installed pyarrow knows can occur.
    if types.is_binary(kind) or types.is_fixed_size_binary(kind) or str(kind) in ("string_view", "binary_view"):
        return pa.string()
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = plain_type(kind.value_type)
        if inner == kind.value_type:
            return kind
        if types.is_fixed_size_list(kind):
            return pa.list_(inner, kind.list_size)
        return pa.large_list(inner) if types.is_large_list(kind) else pa.list_(inner)
    return kind


def text_column(table: pa.Table, column: str) -> pa.ChunkedArray | None:
    """Return a column of texts, or of lists of texts, that can be written as it is.

    Args:
        table: What `gti_cli.tables.read` returned.
        column: The name of the column.

    Returns:
        The column; bytes, views, and dictionaries inside of lists become strings (Arrow cannot read the last of these
        back from a large file). None where it holds something else, or bytes that are no text.
    """
    import pyarrow as pa

    kind = table.schema.field(column).type
    if _holds_texts(kind) and (not pa.types.is_nested(kind) or plain_type(kind) == kind):
        return table.column(column)
    if not _holds_texts(plain_type(kind)):
        return None
    try:
        return readable_column(table, column, "")
    except InputError:
        return None


def _holds_texts(kind: pa.DataType) -> bool:
    """Whether a type is that of strings, or of lists or dictionaries of strings."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_dictionary(kind):
        return _holds_texts(kind.value_type)
    return is_text(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether a type, as `plain_type` returns it, is that of strings."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _without_extension(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the values that an extension type (JSON, UUID) stores; UUIDs become texts."""
    import pyarrow as pa

    if not isinstance(values.type, pa.BaseExtensionType):
        return values
    if values.type.extension_name == "arrow.uuid":
        texts = [None if value is None else str(value) for value in values.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    return pa.chunked_array([chunk.storage for chunk in values.chunks], values.type.storage_type)


def _cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Cast a column, by way of Python where Arrow has no direct way (lists of dictionaries, some views)."""
    import pyarrow as pa

    try:
        return values.cast(kind)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return pa.chunked_array([pa.array(chunk.to_pylist(), kind) for chunk in values.chunks], kind)


def _first_undecodable_row(values: pa.ChunkedArray, kind: pa.DataType) -> int | None:
    """Return the index of the first row with bytes that are not UTF-8; None where there is none.

    Args:
        values: The column.
        kind: Its type with plain strings.
    """
    import pyarrow as pa

    for row in range(len(values)):
        one = values.slice(row, 1)
        try:
            one.validate(full=True)
            if kind != one.type:
                _cast(one, kind).validate(full=True)
        except (pa.ArrowInvalid, UnicodeDecodeError):
            return row
    return None


def id_texts(table: pa.Table, column: str, path: Path | str, first_row: int = 1) -> tuple[list[str | None], str | None]:
    """Return a column of ids as strings; missing ids are None.

    Args:
        table: What `gti_cli.tables.read` returned.
        column: The name of the column.
        path: The file that the table was read from.
        first_row: The number of the table's first row in the file, where the table is a part of it.

    Returns:
        The ids; and the type of the column, if its numbers were written as whole numbers (``7.0`` as ``7``).

    Raises:
        InputError: When the column has another type.
        InputError: When a number is a fraction, or too large for its type to hold every whole number.
    """
    import pyarrow as pa

    values = readable_column(table, column, path, first_row)
    kind = values.type
    where = f"{path}, column {column!r}"
    if pa.types.is_floating(kind):
        return _whole_floats(values, where, first_row), str(kind)
    if pa.types.is_decimal(kind):
        return _whole_decimals(values, where, first_row), str(kind) if kind.scale > 0 else None
    if not (is_text(kind) or pa.types.is_integer(kind)):
        raise InputError(f"ids must be strings or integers, not {kind}", where=where, remedy="convert the column")
    if is_text(kind):
        return values.to_pylist(), None
    return [None if value is None else str(value) for value in values.to_pylist()], None


def _whole_floats(values: pa.ChunkedArray, where: str, first_row: int) -> list[str | None]:
    import numpy as np

    numbers = np.asarray(values.to_numpy())  # missing values are NaN
    limit = 2.0 ** (np.finfo(numbers.dtype).nmant + 1)  # below it every whole number has a value of its own
    numbers = numbers.astype(np.float64)
    missing = np.isnan(numbers)
    wrong = np.flatnonzero(~missing & ((numbers != np.trunc(numbers)) | (np.abs(numbers) >= limit)))
    if len(wrong):
        number, row = numbers[wrong[0]], f"row {wrong[0] + first_row:,}"
        if number != np.trunc(number):
            problem = f"the id {number} is no whole number"
        else:
            problem = f"the id {number:.0f} is too large for {values.type}: neighbouring ids become one"
        raise InputError(problem, where=f"{where}, {row}", remedy="write the ids as text or as integers")
    whole = np.where(missing, 0, numbers).astype(np.int64).tolist()
    return [None if absent else str(number) for number, absent in zip(whole, missing.tolist(), strict=True)]


def _whole_decimals(values: pa.ChunkedArray, where: str, first_row: int) -> list[str | None]:
    texts: list[str | None] = []
    for row, value in enumerate(values.to_pylist(), start=first_row):
        if value is not None and value != int(value):
            raise InputError(
                f"the id {value} is no whole number",
                where=f"{where}, row {row:,}",
                remedy="write the ids as text or as integers",
            )
        texts.append(None if value is None else str(int(value)))
    return texts


def number_texts(values: pa.ChunkedArray) -> list[str]:
    """Return floating-point numbers or decimals as people write them: ``12.9``, ``15``; missing ones are ``""``.

    Args:
        values: The numbers. A float is written with the fewest digits that give it back; a decimal keeps its zeros.
    """
    import numpy as np
    import pyarrow as pa

    if pa.types.is_decimal(values.type):
        return ["" if value is None else format(value, "f") for value in values.to_pylist()]
    return [
        "" if np.isnan(number) else np.format_float_positional(number, trim="-")
        for number in np.asarray(values.to_numpy())
    ]
