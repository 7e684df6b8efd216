"""Files to import: found in folders, opened plain or compressed, and read line by line."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gti_cli import tables
from gti_cli.errors import InputError

COMPRESSED = (".gz", ".zst", ".bz2")
# Longest line in bytes. A compressed file can hold a line that fills the memory.
LONGEST_LINE = 1 << 28


@dataclass(frozen=True)
class SourceFile:
    """A file to import.

    Attributes:
        path: Where it lies.
    """

    path: Path

    @property
    def name(self) -> str:
        """The file's name in lower case, without the ending of a compression: ``u.data``, ``meta_beauty.json``."""
        name = self.path.name.lower()
        return name.rpartition(".")[0] if name.endswith(COMPRESSED) else name

    def where(self, line: int | None = None) -> str:
        """The place that an error names.

        Args:
            line: Number of the line, from 1.

        Returns:
            ``reviews.json.gz, line 12``, or the path alone.
        """
        return str(self.path) if line is None else f"{self.path}, line {line:,}"

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the file, decompressed.

        Yields:
            A stream of bytes.

        Raises:
            InputError: The file is missing, unreadable or a damaged archive, or its compression cannot be read here.
        """
        try:
            with self._stream() as stream:
                yield stream
        except (EOFError, gzip.BadGzipFile, OSError) as cause:
            if isinstance(cause, OSError) and cause.errno is not None:
                raise
            raise InputError(
                f"the compressed file is damaged or cut short: {cause}",
                where=str(self.path),
                remedy="download or copy it again",
            ) from cause

    def _stream(self) -> Any:
        ending = self.path.suffix.lower()
        if ending == ".gz":
            return gzip.open(self.path, "rb")
        if ending == ".bz2":
            return bz2.open(self.path, "rb")
        if ending == ".zst":
            import pyarrow as pa

            return pa.CompressedInputStream(pa.OSFile(str(self.path)), "zstd")
        return self.path.open("rb")

    def lines(self, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
        """The file's lines without their ends; empty lines are left out.

        Args:
            encoding: How the text is encoded. ``utf-8`` also takes a byte order mark.

        Yields:
            The number of each line, from 1, and its text.

        Raises:
            InputError: A line is no text in this encoding, or longer than `LONGEST_LINE`.
        """
        with self.open() as stream:
            for number, raw in enumerate(_split(stream), start=1):
                if len(raw) > LONGEST_LINE:
                    raise InputError(
                        f"the line is longer than {LONGEST_LINE:,} bytes",
                        where=self.where(number),
                        remedy="give a file with one record on each line",
                    )
                try:
                    text = raw.decode("utf-8-sig" if number == 1 and encoding == "utf-8" else encoding)
                except UnicodeDecodeError as cause:
                    raise InputError(
                        f"the text is not {encoding.upper()}",
                        where=self.where(number),
                        remedy="save the file in that encoding",
                    ) from cause
                if text.strip():
                    yield number, text

    def first_line(self, encoding: str = "latin-1") -> str:
        """The first line that is not empty; ``""`` where there is none. Latin-1 reads any bytes."""
        return next((text for _, text in self.lines(encoding)), "")


def _split(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines of a stream. Arrow's decompressed streams cannot be iterated by line, so blocks are cut here."""
    rest = b""
    while block := stream.read(1 << 20):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r")
        if len(rest) > LONGEST_LINE:
            break  # too long already: the reader refuses it
    if rest:
        yield rest.removesuffix(b"\r")


def find_files(sources: Sequence[Path | str]) -> list[SourceFile]:
    """The files that the caller named; of a folder, all files inside, also in inner folders.

    Args:
        sources: Files and folders, and addresses such as ``hf://datasets/NAME/PATH`` (see `gti_cli.tables.locate`).

    Returns:
        The files, each once, in the order given and by name within a folder. Hidden files are left out.

    Raises:
        InputError: A source is missing, or a folder holds no file.
    """
    files: dict[Path, SourceFile] = {}
    for source in sources:
        place = tables.locate(source)
        inside = [shard.path for shard in place.selection().shards()] if place.is_remote else _local_files(Path(source))
        for path in inside:
            files.setdefault(path.resolve(), SourceFile(path))
    return list(files.values())


def _local_files(source: Path) -> list[Path]:
    """Return a file, or all files of a folder, by name."""
    if source.is_dir():
        inside = sorted(path for path in source.rglob("*") if path.is_file() and not _hidden(path, source))
        if not inside:
            raise InputError("the folder holds no file", where=str(source), remedy="check the path")
        return inside
    if source.is_file():
        return [source]
    raise InputError("no such file or folder", where=str(source), remedy="check the path")


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
