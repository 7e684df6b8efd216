"""Files that are whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, writer: str = "") -> Iterator[Path]:
    """Write a file under a temporary name; on leaving without an error it takes the place of ``path``.

    After an error (a full disk, say) the temporary file is removed and what stood at ``path`` stays.

    Args:
        path: Where the finished file goes.
        writer: Tells apart processes that may write the same file at the same time.

    Yields:
        The temporary path, ``.NAME.part`` beside ``path`` (``.NAME.WRITER.part`` with a writer).
    """
    temporary = path.with_name(f".{path.name}.{writer}.part" if writer else f".{path.name}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
