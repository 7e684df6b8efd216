"""Write files so that a reader sees either the whole file or none: under a temporary name, then renamed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path, writer: str = "") -> Iterator[Path]:
    """Write a file under a temporary name; on leaving the block without an error it is renamed to ``path``.

    After an error (such as a full disk) the temporary file is removed, and a file that existed at ``path`` remains. A
    symbolic link at ``path`` is replaced: the file that it points to stays as it is.

    Args:
        path: Where the finished file goes.
        writer: A name that tells apart processes which may write the same file at the same time.

    Yields:
        The temporary path, ``.NAME.part`` beside ``path`` (``.NAME.WRITER.part`` with a writer).
    """
    temporary = path.with_name(f".{path.name}.{writer}.part" if writer else f".{path.name}.part")
    temporary.unlink(missing_ok=True)  # a link of this name, which somebody may have left there, is not followed
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, payload: Mapping[str, Any]) -> None:
    """Write a JSON file with sorted keys, so that the same content always gives the same bytes.

    Raises:
        ValueError: When the payload holds NaN or an infinite number.
    """
    text = json.dumps(payload, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", "utf-8")


def make_folder(path: Path) -> None:
    """Make a folder and those above it; an interruption meanwhile leaves none of those that were missing."""
    absent = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except BaseException:
        for folder in absent:
            with suppress(OSError):  # another command has put something into it, or it was not made
                folder.rmdir()
        raise
