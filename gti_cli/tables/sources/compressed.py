"""Compressed files, decompressed for as long as they are read."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gti_cli.errors import InputError, first_line
from gti_cli.tables.sources.shards import Shard

PIECE = 1 << 22  # bytes that are decompressed at a time
# Texts of tables seldom become 20 times smaller by compression. What grows beyond both limits is a trap or an error.
MOST_BYTES = 1 << 28
MOST_TIMES = 250


@contextmanager
def decompressed(shard: Shard) -> Iterator[Path]:
    """Give a file in its plain form.

    Args:
        shard: The file.

    Yields:
        The file itself where it is not compressed; else a temporary file, which is removed at the end of the block.

    Raises:
        InputError: When the file is damaged or truncated, or grows beyond `MOST_BYTES` and `MOST_TIMES` its size.
    """
    if not shard.compressed:
        yield shard.path
        return
    with tempfile.TemporaryDirectory(prefix="gti-") as folder:
        plain = Path(folder) / shard.path.stem
        try:
            with _open(shard.path) as source, plain.open("wb") as target:
                _copy(source, target, shard)
        except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, OSError) as cause:
            if isinstance(cause, OSError) and cause.errno is not None:  # a full disk, for example
                raise
            raise InputError(
                f"cannot be decompressed: {first_line(cause)}",
                where=shard.name,
                remedy="the file is damaged or truncated: write or download it again",
            ) from cause
        yield plain


def _copy(source: Any, target: Any, shard: Shard) -> None:
    limit = max(MOST_BYTES, MOST_TIMES * shard.path.stat().st_size)
    while piece := source.read(PIECE):
        target.write(piece)
        if target.tell() > limit:
            raise InputError(
                f"grows from {shard.path.stat().st_size:,} to more than {limit:,} bytes when it is decompressed",
                where=shard.name,
                remedy="if that is right, decompress it yourself and give the plain file",
            )


def _open(path: Path) -> Any:
    ending = path.suffix.lower()
    if ending == ".zst":
        import pyarrow as pa

        return pa.input_stream(str(path), compression="zstd")
    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return openers[ending](path, "rb")
