"""Files that would fill the memory: small ones that hold the same value, or nothing, a vast number of times.

All is seen from a file's metadata and from its dictionaries, before the values are made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.errors import InputError
from gti_cli.tables.sources.compressed import MOST_BYTES, MOST_TIMES

if TYPE_CHECKING:
    import pyarrow as pa

# Ids alone take more than a hundredth of a byte for each row.
MANY_VALUES, VALUES_IN_A_BYTE = 10_000_000, 100
_ROWS = 1 << 16  # rows of a column that are looked at together
_ROWS_KEPT = 1 << 20  # the same for a column that is kept: each part of it has a dictionary of its own


def refuse_oversized(path: Path, where: str, keep: Collection[str] = ()) -> dict[str, pa.ChunkedArray]:
    """Refuse a Parquet file whose content is far larger than the file.

    Args:
        path: The file.
        where: Its name, for the error line.
        keep: Columns of strings to return, since they have been read then.

    Returns:
        The columns of ``keep``, as dictionaries.

    Raises:
        InputError: When it holds so many values in so few bytes that nearly all must be empty or equal, or more bytes
            than `compressed.MOST_BYTES` and `compressed.MOST_TIMES` its own.
    """
    import pyarrow.parquet as pq

    metadata, size = pq.read_metadata(path), path.stat().st_size
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [metadata.schema.column(number) for number in range(metadata.num_columns)]
    _refuse_many(int(metadata.num_rows), "rows", size, where)
    stored = sum(int(group.total_byte_size) for group in groups)
    refuse_growth(stored, size, where)
    _check_lists(path, [column.path for column in columns if column.max_repetition_level])
    texts = []
    for number, column in enumerate(columns):
        values = int(metadata.num_rows)
        if column.max_repetition_level:  # lists: only here may there be more values than rows
            # pyarrow 26.0 ends the process where this part of a footer is damaged: see `_check_lists`.
            values = sum(group.column(number).num_values for group in groups)
            _refuse_many(values, "values in a column", size, where)
        # A text that many rows share is stored once. No column can hold more than each value as long as all bytes.
        is_large = values * stored > max(MOST_BYTES, MOST_TIMES * size)
        if column.physical_type == "BYTE_ARRAY" and (is_large or column.path in keep):
            texts.append(column.path)
    held = 0
    kept: dict[str, list[pa.Array]] = {name: [] for name in keep}
    for name in texts:
        for batch in _with_dictionaries(path, name, _ROWS_KEPT if name in kept else _ROWS):
            arrays = [batch.column(name)] if name in kept else batch.columns
            held += sum(map(_length, arrays))
            refuse_growth(held, size, where)
            if name in kept:
                kept[name] += arrays
    return {name: _chunked(arrays) for name, arrays in kept.items()}


def refuse_oversized_table(table: pa.Table, path: Path, where: str) -> None:
    """Refuse an Arrow file whose content is far larger than the file.

    Args:
        table: The table in it, which is on disk still.
        path: The file.
        where: Its name, for the error line.

    Raises:
        InputError: As `refuse_oversized`.
        pyarrow.ArrowInvalid: When a dictionary is damaged.
    """
    size = path.stat().st_size
    _refuse_many(int(table.num_rows), "rows", size, where)
    shared = [column for column in table.columns if "dictionary" in str(column.type)]
    for column in shared:
        column.validate(full=True)  # a damaged file may refer to values that its dictionary does not have
    refuse_growth(sum(_length(chunk) for column in shared for chunk in column.chunks), size, where)


def _check_lists(path: Path, columns: list[str]) -> None:
    """Let pyarrow find damage in what the footer says of columns of lists, with an error that can be caught.

    To ask for the number of their values would end the process there (in pyarrow 26.0). A scan decodes the columns
    block by block and keeps nothing, in a seventh of the time in which they are read. Large files, whose disk would be
    read twice, are asked without it.

    Raises:
        OSError: When there is such damage.
    """
    import pyarrow.parquet as pq

    if columns and path.stat().st_size < MOST_BYTES:
        with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
            file.scan_contents(columns)


def _refuse_many(values: int, what: str, size: int, where: str) -> None:
    if values > MANY_VALUES and values > VALUES_IN_A_BYTE * size:
        raise InputError(
            f"has {values:,} {what} in {size:,} bytes, so nearly all of them are empty or equal",
            where=where,
            remedy="drop the empty rows",
        )


def refuse_growth(held: int, size: int, where: str) -> None:
    """Refuse a file whose content is far larger than the file.

    Args:
        held: Bytes of the content.
        size: Bytes of the file.
        where: The file, for the error line.

    Raises:
        InputError: When ``held`` is more than `compressed.MOST_BYTES` and `compressed.MOST_TIMES` of ``size``.
    """
    limit = max(MOST_BYTES, MOST_TIMES * size)
    if held > limit:
        raise InputError(
            f"grows from {size:,} to more than {limit:,} bytes when it is read",
            where=where,
            remedy="if that is right, write it without compression and without dictionaries",
        )


def _with_dictionaries(path: Path, column: str, rows: int) -> Iterator[pa.RecordBatch]:
    """Read a column of texts part by part, each different text of a part once."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, read_dictionary=[column], buffer_size=1 << 20, pre_buffer=False) as file:
        yield from file.iter_batches(rows, columns=[column], use_threads=False)


def _chunked(arrays: list[pa.Array]) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.chunked_array(arrays, arrays[0].type if arrays else pa.dictionary(pa.int32(), pa.string()))


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
