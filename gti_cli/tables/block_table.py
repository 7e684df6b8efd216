"""Tables of which one block of rows is in memory at a time, where they are large and their files allow it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError, first_line
from gti_cli.tables.files import note_replaced, read, require_columns
from gti_cli.tables.headers import clean_name
from gti_cli.tables.sources.location import TableLocation, locate
from gti_cli.tables.sources.shards import PARQUET, Shard
from gti_cli.tables.sources.stored import blocks, stored_rows

if TYPE_CHECKING:
    import pyarrow as pa

LARGE = 1 << 24  # bytes of Parquet files; smaller tables are read as a whole, which is faster
_ROWS = 1 << 14  # rows of a block, while some rows are looked for


@dataclass(frozen=True)
class BlockTable:
    """A table that is read block by block.

    Attributes:
        location: The table.
        schema: Names and types of its columns, by our names, without those that were skipped.
        resident: The columns that are in memory, of all rows; of a small table all columns.
    """

    location: TableLocation
    schema: pa.Schema
    resident: pa.Table

    def __len__(self) -> int:
        return int(self.resident.num_rows)

    def blocks(self, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Read some columns of all rows, in order.

        Args:
            columns: Columns of ``schema``.
            rows: The largest number of rows of a block.

        Yields:
            Tables of these columns. One block is in memory at a time, unless they are resident.

        Raises:
            InputError: When a file is damaged.
        """
        if all(name in self.resident.column_names for name in columns):
            for start in range(0, len(self), rows):
                yield self.resident.slice(start, rows).select(list(columns))
            return
        import pyarrow as pa

        theirs = [self.location.theirs(name) for name in columns]
        for piece in self.location.selection().pieces(stored_rows):
            try:
                for block in blocks([piece], theirs, rows):
                    yield block.rename_columns(list(columns))
            except (pa.ArrowException, OSError) as cause:
                raise InputError(
                    f"cannot be read as {piece.shard.ending[1:]}: {first_line(cause)}",
                    where=piece.shard.name,
                    remedy="the file is damaged, truncated or of another kind: write it again",
                ) from cause

    def rows(self, columns: Sequence[str], numbers: Sequence[int]) -> pa.Table:
        """Read some columns of some rows.

        Args:
            columns: Columns of ``schema``.
            numbers: Row numbers from 0, in any order.

        Returns:
            The rows in the order of ``numbers``.
        """
        import numpy as np
        import pyarrow as pa

        wanted, places = np.unique(np.asarray(numbers, dtype=np.int64), return_inverse=True)
        found: list[Any] = []
        start = taken = 0
        for block in self.blocks(columns, _ROWS):
            stop = int(np.searchsorted(wanted, start + len(block)))
            if stop > taken or not found:
                found.append(block.take(pa.array(wanted[taken:stop] - start)))
            start, taken = start + len(block), stop
            if taken == len(wanted):
                break
        return pa.concat_tables(found).take(pa.array(places.reshape(-1)))


def read_in_blocks(
    path: Path | str, columns: Sequence[str] = (), *, skip: Sequence[str] = (), resident: Sequence[str]
) -> BlockTable:
    """Open a table that can be read block by block.

    Parquet files stay on disk where they are larger than `LARGE` and agree in the types of their columns; other tables
    are read as a whole.

    Args:
        path: The table, see `gti_cli.tables.read`.
        columns: Columns that the table must have.
        skip: Columns that are not read.
        resident: Columns to load of all rows, at least one; the table must have them.

    Raises:
        InputError: As `gti_cli.tables.read`.
    """
    import pyarrow.parquet as pq

    location = locate(path)
    if not _stays_on_disk(location.shards()):
        table = read(location, columns, skip=skip)
        return BlockTable(location, table.schema, table)
    stored = pq.read_schema(location.shards()[0].path).remove_metadata().empty_table()
    stored = stored.rename_columns([clean_name(name) for name in stored.column_names])
    names = [name for name in location.our_names(stored.column_names) if name not in skip]
    require_columns(location, names, list(dict.fromkeys([*columns, *resident])))
    held = read(location, only=resident)
    renamed, replaced = location.rename(stored, stored.column_names)
    note_replaced(location, replaced)
    schema = renamed.select([name for name in renamed.column_names if name not in skip]).schema
    return BlockTable(location, schema, held)


def _stays_on_disk(shards: Sequence[Shard]) -> bool:
    """Whether the files of a table are large, and blocks of them have the same types everywhere."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if any(shard.ending not in PARQUET or not shard.by_columns for shard in shards):
        return False
    if sum(shard.path.stat().st_size for shard in shards) < LARGE:
        return False
    try:
        first, *others = (pq.read_schema(shard.path).remove_metadata() for shard in shards)
    except (pa.ArrowException, OSError):
        return False  # `read` says what is wrong with the file
    return all(schema.equals(first) for schema in others)
