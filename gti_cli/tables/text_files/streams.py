"""Bytes of text files: opened as often as a reader needs them, and explained where they are not UTF-8."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from gti_cli.errors import InputError

# Opens a file anew, at its beginning and decompressed. Readers open it again to explain what is wrong with it.
Opener = Callable[[], IO[bytes]]

UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_REMEDY = "save it as UTF-8"


def opener(path: Path | str) -> Opener:
    """Return a function that opens a file; ``.gz``, ``.bz2``, ``.zst`` and ``.lz4`` are decompressed.

    Args:
        path: The file.
    """

    def open_file() -> Any:
        """Open the file as Arrow does, which reads it fastest."""
        import pyarrow as pa

        return pa.input_stream(str(path), compression="detect")

    return open_file


def text_stream(open_file: Opener) -> io.TextIOWrapper:
    """Open a file as text in UTF-8, with or without byte order mark; line ends stay as they are.

    Args:
        open_file: Opens the file.
    """
    return io.TextIOWrapper(binary_stream(open_file), encoding="utf-8-sig", newline="")


def binary_stream(open_file: Opener) -> io.BufferedReader:
    """Open a file so that its lines can be iterated, which Arrow's own streams do not allow.

    Args:
        open_file: Opens the file.
    """
    stream = open_file()
    return stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore[arg-type]


def encoding_fault(path: Path | str, open_file: Opener) -> InputError | None:
    """Return the error for a file whose text is not UTF-8; None where it is.

    Args:
        path: The file, for the error line.
        open_file: Opens it.
    """
    with binary_stream(open_file) as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1 and line.startswith(_UTF16_MARKS):
                return InputError("the text is UTF-16", where=str(path), remedy=_REMEDY)
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return InputError("the text is not UTF-8", where=f"{path}, line {number:,}", remedy=_REMEDY)
    return None
