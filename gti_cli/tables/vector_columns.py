"""Read a column of vectors: lists of numbers, or texts that show such lists (``[0.1, 0.2]``), as in CSV files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.errors import InputError
from gti_cli.tables.text_types import is_text, readable_column

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_TEXTS_AT_ONCE = 1 << 12  # texts that are parsed at a time: their numbers are texts of their own for a moment
_SAME_LENGTH = "give every row a vector of the same length"
_AS_LISTS = "write whole lists of numbers ([0.1, 0.2]), or save the table as .parquet"
# What Python prints around vectors: array([0.1, 0.2], dtype=float32), tensor([0.1, 0.2]), [np.float32(0.1), 0.2].
_ARRAY = re.compile(r"(?:\w+\.)?(?:array|tensor)\(\s*(\[.*\])\s*(?:,\s*\w+=[^\[\]]*)?\)", re.DOTALL)
_SCALAR = re.compile(r"(?:\w+\.)?float\d+\(([^()]*)\)")


def vectors(
    table: pa.Table, column: str, path: Path | str, *, first_row: int = 1, width: int | None = None
) -> npt.NDArray[np.float32]:
    """Return a column of number lists, or of texts that show number lists, as a matrix.

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

    values = readable_column(table, column, path, first_row)
    where = f"{path}, column {column!r}"
    if not is_text(values.type):
        return _from_lists(values.combine_chunks(), where, first_row, width)
    parts = []
    for start in range(0, max(len(values), 1), _TEXTS_AT_ONCE):
        texts = values.slice(start, _TEXTS_AT_ONCE).combine_chunks()
        parts.append(_from_texts(texts, where, first_row + start, width))
        width = parts[-1].shape[1]
    return np.concatenate(parts)


def _from_lists(values: pa.Array, where: str, first_row: int, width: int | None) -> npt.NDArray[np.float32]:
    """Return lists of numbers as a matrix."""
    import pyarrow as pa

    kinds = pa.types
    if not (kinds.is_list(values.type) or kinds.is_large_list(values.type) or kinds.is_fixed_size_list(values.type)):
        raise InputError(
            f"must be lists of numbers, not {values.type}", where=where, remedy="store one list in each row"
        )
    inner = values.type.value_type
    if not (kinds.is_floating(inner) or kinds.is_integer(inner) or kinds.is_decimal(inner) or kinds.is_null(inner)):
        raise InputError(f"must be lists of numbers, not of {inner}", where=where, remedy="convert the column")
    if values.null_count:
        row = values.is_null().to_pylist().index(True) + first_row
        raise InputError("the vector is missing", where=f"{where}, row {row:,}", remedy="fill it in or drop the row")
    return _matrix(values, where, first_row, width)


def _matrix(values: pa.Array, where: str, first_row: int, width: int | None) -> npt.NDArray[np.float32]:
    """Return lists of numbers, none of which is missing, as a matrix.

    Args:
        values: N lists.
        where: The file and column, for error lines.
        first_row: The number of the first list's row.
        width: The length that earlier parts have set; None means the length of the first list.

    Returns:
        (N, width) float32.

    Raises:
        InputError: When a list is empty or has another length, or a number is missing, NaN or infinite.
    """
    import numpy as np
    import pyarrow as pa

    lengths = np.asarray(values.value_lengths())
    if not len(lengths):
        return np.empty((0, width or 0), dtype=np.float32)
    width = int(lengths[0]) if width is None else width
    wrong = np.flatnonzero((lengths != width) | (lengths == 0))
    if len(wrong):
        length, row = int(lengths[wrong[0]]), wrong[0] + first_row
        problem = f"{length} numbers where the first row has {width}" if length else "the vector is empty"
        raise InputError(problem, where=f"{where}, row {row:,}", remedy=_SAME_LENGTH)
    flat = values.flatten()
    if flat.null_count:
        row = flat.is_null().to_pylist().index(True) // width + first_row
        raise InputError("a number is missing", where=f"{where}, row {row:,}", remedy="fill it in")
    if pa.types.is_decimal(flat.type):
        flat = flat.cast(pa.float64())
    matrix = np.asarray(flat.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(-1, width)
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise InputError(
            "the vector holds NaN or infinity",
            where=f"{where}, row {bad[0] + first_row:,}",
            remedy="encode these items again or drop them",
        )
    return matrix


def _from_texts(texts: pa.Array, where: str, first_row: int, width: int | None) -> npt.NDArray[np.float32]:
    """Return texts such as ``[0.1, 0.2]`` or ``[0.1 0.2]`` as a matrix; each number becomes the nearest float32."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.utf8_trim_whitespace(pc.fill_null(texts, ""))
    if pc.any(pc.match_substring(texts, "(")).as_py():
        texts = pa.array([_without_calls(text) for text in texts.to_pylist()], texts.type)

    def refuse(wrong: pa.Array, problem: str, remedy: str) -> None:
        """Refuse the first row for which ``wrong`` is true."""
        row = pc.index(wrong, True).as_py()
        if row >= 0:
            raise InputError(problem, where=f"{where}, row {row + first_row:,}", remedy=remedy)

    refuse(pc.equal(texts, ""), "the vector is missing", "fill it in or drop the row")
    refuse(
        pc.match_substring(texts, "..."),
        "'...' stands for numbers that were left out when the vector was printed",
        "write the vector with all its numbers, for example by .tolist(), or save the table as .parquet",
    )
    refuse(
        pc.xor(pc.starts_with(texts, "["), pc.ends_with(texts, "]")),
        "the list has no end or no beginning: its text was cut",
        _AS_LISTS,
    )
    inner = pc.utf8_trim(texts, "[]() \t\r\n")
    refuse(pc.equal(inner, ""), "the vector is empty", _SAME_LENGTH)
    lists = _split(inner)
    return _matrix(_as_numbers(lists, where, first_row), where, first_row, width)


def _without_calls(text: str) -> str:
    """Take away what Python prints around a vector or a number, such as ``array(…)``."""
    text = _SCALAR.sub(r"\1", text)
    match = _ARRAY.fullmatch(text)
    return match.group(1) if match else text


def _split(texts: pa.Array) -> pa.ListArray:
    """Split texts at commas, and a text without any comma at white space."""
    import pyarrow.compute as pc

    with_comma = pc.match_substring(texts, ",")
    separated = pc.replace_substring_regex(texts, pattern=r"\s*,\s*", replacement=",")
    if not pc.all(with_comma).as_py():
        by_space = pc.replace_substring_regex(texts, pattern=r"\s+", replacement=",")
        separated = pc.if_else(with_comma, separated, by_space)
    return pc.split_pattern(separated, ",")


def _as_numbers(lists: pa.ListArray, where: str, first_row: int) -> pa.ListArray:
    """Turn lists of texts into lists of float32; Arrow rounds each text once, to the nearest float32."""
    import pyarrow as pa

    try:
        return type(lists).from_arrays(lists.offsets, lists.flatten().cast(pa.float32()))
    except pa.ArrowInvalid as cause:
        for row, entries in enumerate(lists.to_pylist(), start=first_row):
            for entry in entries:
                if not _is_number(entry):
                    raise InputError(
                        f"{entry!r} is no number" if entry else "a number is missing between two commas",
                        where=f"{where}, row {row:,}",
                        remedy=_AS_LISTS,
                    ) from cause
        raise


def _is_number(text: str) -> bool:
    import pyarrow as pa

    try:
        pa.array([text]).cast(pa.float32())
    except pa.ArrowInvalid:
        return False
    return True
