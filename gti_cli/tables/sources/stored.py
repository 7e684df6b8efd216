"""Parquet and Arrow files: counted and named from their metadata, and read by some columns and blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.tables.headers import clean_name, stored_name
from gti_cli.tables.sources.arrow_buffers import plain_bytes
from gti_cli.tables.sources.oversized import refuse_growth
from gti_cli.tables.sources.shards import PARQUET, Piece, Shard

if TYPE_CHECKING:
    import pyarrow as pa


def open_arrow(path: Path, where: str) -> pa.Table:
    """Open an Arrow file, as `datasets` and pyarrow write them, without loading it: it is mapped into memory.

    What is compressed in it is decompressed.

    Args:
        path: The file.
        where: Its name, for the error line.

    Raises:
        InputError: When its compressed buffers are far larger than the file.
    """
    import pyarrow as pa

    source = pa.memory_map(str(path))
    try:
        opened = pa.ipc.open_file(source)
    except pa.ArrowInvalid:  # the other of Arrow's two formats, which `datasets` writes
        source.seek(0)
        opened = pa.ipc.open_stream(source)
    with pa.memory_map(str(path)) as other:  # a reader goes on from where it has left its own
        refuse_growth(plain_bytes(other), path.stat().st_size, where)
    return opened.read_all()


def stored_rows(shard: Shard) -> int:
    """Return the number of rows of a Parquet or Arrow file."""
    if shard.ending in PARQUET:
        import pyarrow.parquet as pq

        return int(pq.read_metadata(shard.path).num_rows)
    return int(open_arrow(shard.path, shard.name).num_rows)


def stored_names(shard: Shard) -> list[str]:
    """Return the names of the columns of a Parquet or Arrow file, cleaned."""
    if shard.ending in PARQUET:
        import pyarrow.parquet as pq

        return [clean_name(name) for name in pq.read_schema(shard.path).names]
    return [clean_name(name) for name in open_arrow(shard.path, shard.name).column_names]


def blocks(pieces: Sequence[Piece], columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
    """Read some columns of Parquet or Arrow files block by block.

    Args:
        pieces: The rows of each file.
        columns: At least one column, as the files call it.
        rows: The largest number of rows of a block.

    Yields:
        Tables of these columns alone, in this order. One block is in memory at a time.
    """
    for piece in pieces:
        if piece.shard.ending in PARQUET:
            yield from _parquet_blocks(piece, columns, rows)
        else:
            table = open_arrow(piece.shard.path, piece.shard.name)
            table = table.select([stored_name(table.column_names, column) for column in columns])
            stop = table.num_rows if piece.stop is None else piece.stop
            for start in range(piece.start, stop, rows):
                yield table.slice(start, min(rows, stop - start))


def _parquet_blocks(piece: Piece, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = 0  # the number of the batch's first row
    # By default pyarrow loads a whole row group, which may be the whole file, at once; a buffered stream does not.
    with pq.ParquetFile(piece.shard.path, buffer_size=1 << 20, pre_buffer=False) as file:
        stored = [stored_name(file.schema_arrow.names, column) for column in columns]
        for batch in file.iter_batches(rows, columns=stored, use_threads=False):
            start = max(piece.start - first, 0)
            stop = len(batch) if piece.stop is None else min(piece.stop - first, len(batch))
            if start < stop:
                # Asked for the column "a", pyarrow also reads "a.b".
                yield pa.Table.from_batches([batch.slice(start, stop - start)]).select(stored)
            first += len(batch)
            if piece.stop is not None and first >= piece.stop:
                return
