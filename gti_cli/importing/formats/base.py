"""What a format is: a name, a way to recognise its files, and a reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gti_cli.errors import InputError, list_names
from gti_cli.importing.gather import ImportedData
from gti_cli.importing.sources import SourceFile

Files = Sequence[SourceFile]
# Shows progress: called with the number of records that were read since the last call.
Advance = Callable[[int], object]


@dataclass(frozen=True)
class Format:
    """A data format.

    Attributes:
        name: As ``--format`` has it.
        title: In words.
        recognise: Whether files are of this format.
        read: Reads the files into an `ImportedData`.
    """

    name: str
    title: str
    recognise: Callable[[Files], bool]
    read: Callable[[Files, ImportedData, Advance], None]


def named(files: Files, *names: str) -> list[SourceFile]:
    """The files with one of these names; a name that begins with ``*`` is an ending."""
    return [file for file in files if any(_matches(file.name, name) for name in names)]


def _matches(name: str, pattern: str) -> bool:
    return name.endswith(pattern[1:]) if pattern.startswith("*") else name == pattern


def need_one(files: Files, title: str, *names: str) -> SourceFile:
    """The one file with one of these names.

    Raises:
        InputError: There is none, or several.
    """
    found = named(files, *names)
    if len(found) != 1:
        problem = f"{title} needs the file {' or '.join(names)}" if not found else f"{len(found)} files for {title}"
        raise InputError(
            problem,
            where=list_names([file.path for file in found or files], 3),
            remedy="give one data set at a time, with all its files",
        )
    return found[0]
