"""Files that would fill the memory: small ones that hold the same value, or nothing, a vast number of times.

All is seen from a file's metadata and from its dictionaries, before the values are made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError
from gti_cli.tables.sources.compressed import MOST_BYTES, MOST_TIMES

if TYPE_CHECKING:
    import pyarrow as pa

# Ids alone take more than a hundredth of a byte for each row.
MANY_VALUES, VALUES_IN_A_BYTE = 10_000_000, 100
_ROWS = 1 << 16  # rows of a column that are looked at together


def refuse_oversized(path: Path, where: str) -> None:
    """Refuse a Parquet file whose content is far larger than the file.

    Args:
        path: The file.
        where: Its name, for the error line.

    Raises:
        InputError: When it holds so many values in so few bytes that nearly all must be empty or equal, or more bytes
            than `compressed.MOST_BYTES` and `compressed.MOST_TIMES` its own.
    """
    import pyarrow.parquet as pq

    metadata, size = pq.read_metadata(path), path.stat().st_size
    groups = range(metadata.num_row_groups)
    chunks = [[metadata.row_group(group).column(n) for group in groups] for n in range(metadata.num_columns)]
    _refuse_many(int(metadata.num_rows), "rows", size, where)
    for column in chunks:
        _refuse_many(sum(chunk.num_values for chunk in column), "values in a column", size, where)
    limit = max(MOST_BYTES, MOST_TIMES * size)
    stored = sum(chunk.total_uncompressed_size for column in chunks for chunk in column)
    # A text that many rows share is stored once. No column can hold more than each value as long as all of them.
    shared = [column for column in chunks if _most_bytes(column) > limit]
    held = stored if stored > limit else _bytes_held(path, [column[0].path_in_schema for column in shared], limit)
    _refuse_growth(held, size, where)


def refuse_oversized_table(table: pa.Table, path: Path, where: str) -> None:
    """Refuse an Arrow file whose content is far larger than the file.

    Args:
        table: The table in it, which is on disk still.
        path: The file.
        where: Its name, for the error line.

    Raises:
        InputError: As `refuse_oversized`.
    """
    size = path.stat().st_size
    _refuse_many(int(table.num_rows), "rows", size, where)
    shared = [column for column in table.columns if "dictionary" in str(column.type)]
    _refuse_growth(sum(_length(chunk) for column in shared for chunk in column.chunks), size, where)


def _refuse_many(values: int, what: str, size: int, where: str) -> None:
    if values > MANY_VALUES and values > VALUES_IN_A_BYTE * size:
        raise InputError(
            f"has {values:,} {what} in {size:,} bytes, so nearly all of them are empty or equal",
            where=where,
            remedy="drop the empty rows",
        )


def _refuse_growth(held: int, size: int, where: str) -> None:
    limit = max(MOST_BYTES, MOST_TIMES * size)
    if held > limit:
        raise InputError(
            f"grows from {size:,} to more than {limit:,} bytes when it is read",
            where=where,
            remedy="if that is right, write it without compression and without dictionaries",
        )


def _most_bytes(column: list[Any]) -> int:
    """An upper bound of the bytes of a column of texts, from the metadata of its parts; 0 for numbers."""
    if not column or column[0].physical_type != "BYTE_ARRAY":
        return 0
    return sum(chunk.num_values * chunk.total_uncompressed_size for chunk in column if chunk.has_dictionary_page)


def _bytes_held(path: Path, columns: list[str], limit: int) -> int:
    """Count the bytes of columns of texts until they are more than ``limit``, without making the texts."""
    import pyarrow.parquet as pq

    held = 0
    if columns:
        with pq.ParquetFile(path, read_dictionary=columns, buffer_size=1 << 20, pre_buffer=False) as file:
            for batch in file.iter_batches(_ROWS, columns=columns, use_threads=False):
                held += sum(map(_length, batch.columns))
                if held > limit:
                    break
    return held


def _length(values: pa.Array) -> int:
    """The bytes of the texts in an array, a text that a dictionary holds once counted as often as it is used."""
    import pyarrow as pa
    import pyarrow.compute as pc

    while pa.types.is_nested(values.type):
        if pa.types.is_struct(values.type):
            return sum(map(_length, values.flatten()))
        values = values.flatten() if not pa.types.is_map(values.type) else values.items
    if not pa.types.is_dictionary(values.type) or not _is_text(values.type.value_type):
        return int(values.nbytes)
    lengths = pc.binary_length(values.dictionary).cast(pa.int64())
    return int(pc.sum(lengths.take(values.indices)).as_py() or 0)


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    is_text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in is_text)
