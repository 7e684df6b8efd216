"""Where a table lies, as the caller names it: a file, a folder, a glob, a data set of the hub, or an address."""

from __future__ import annotations

import functools
import glob
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import urlsplit, urlunsplit

from gti_cli.errors import InputError
from gti_cli.tables.sources import folders, hub, remote
from gti_cli.tables.sources.renaming import Renaming
from gti_cli.tables.sources.shards import (
    ENDINGS,
    KINDS,
    ONLY_SPLIT,
    Piece,
    RowPlaces,
    Selection,
    Shard,
    Source,
    check_kinds,
    ending_of,
)
from gti_cli.workspace.inputs import describe_files

if TYPE_CHECKING:
    import pyarrow as pa

P = ParamSpec("P")
T = TypeVar("T")

# Two letters or more, since C: is a drive. pathlib makes one slash of two, so one is enough.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
_PART = r"[A-Za-z_][\w.]*(?:\[[^\[\]]*\])?(?:\(\w+\))?"
_SPLIT = re.compile(rf":({_PART}(?:\+{_PART})*)$")  # `datasets` writes train, train+test, train[:500], test[10%:20%]
_HUB_URL = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)/(?:resolve|blob)/([^/]+)/([^?]+)(?:\?.*)?")


class TableLocation(str):
    """The place of a table: the text that the caller gave, and what is needed to read the table.

    It is a string, so that it stands in error lines as the caller wrote it. Nothing is looked up before `source` is
    called. Make one with `locate`.

    Attributes:
        renaming: What the columns of the table are called; None means as ours.
    """

    renaming: Renaming | None
    _source: Source | None
    _rows: RowPlaces | None

    def __new__(cls, text: str) -> TableLocation:
        """Make the place of a table from its text."""
        location = super().__new__(cls, text)
        location.renaming = location._source = location._rows = None
        return location

    @property
    def is_remote(self) -> bool:
        """Whether the table is not among the files of this machine."""
        return _SCHEME.match(self) is not None and not self.startswith("file:")

    @property
    def is_table(self) -> bool:
        """Whether the text can only be that of a table: by its ending, or because it is an address."""
        return self.is_remote or ending_of(self._place_and_split()[0]) in ENDINGS

    def _place_and_split(self) -> tuple[str, str | None]:
        """Divide the text into the place of the files, and which splits and rows of them to read."""
        text = self.removeprefix("file://")
        match = _SPLIT.search(text)
        if match is None or (not self.is_remote and os.path.lexists(text)) or (self.is_remote and "?" in text):
            return text, None
        return text[: match.start()], match[1]

    def source(self) -> Source:
        """Find the files, and bring those to this machine that are not here.

        Raises:
            InputError: When there are none, or they cannot be had.
        """
        if self._source is None:
            place, instruction = self._place_and_split()
            self._source = _find_remote(place, instruction) if self.is_remote else Source(_find_local(place, self))
        return self._source

    def selection(self) -> Selection:
        """Return which splits and rows of the files make the table."""
        return Selection(self, self.source().splits, self._place_and_split()[1])

    def shards(self) -> list[Shard]:
        """Return the files of the table in order, each once, after checking that they are tables of one kind.

        Raises:
            InputError: When they are not, or a split does not exist.
        """
        place = self._place_and_split()[0].split("?")[0]
        if place.startswith(("http:", "https:")) and ending_of(place) not in ENDINGS:  # before it is downloaded
            raise InputError(f"the ending {ending_of(place)!r} is not known", where=self, remedy=KINDS)
        shards = self.selection().shards()
        check_kinds(shards, self)
        return shards

    def theirs(self, column: str) -> str:
        """Return what the files call a column."""
        return column if self.renaming is None else self.renaming.theirs(column)

    def rename(self, table: pa.Table, stored: Sequence[str]) -> tuple[pa.Table, list[str]]:
        """Give the columns of a table our names.

        Args:
            table: With the names that the files have.
            stored: The names of all columns of the files, also of those that were not loaded.

        Returns:
            The renamed table, and the names of columns that gave way to others of the same name.

        Raises:
            InputError: When no table of the command has a column that the caller named.
        """
        if self.renaming is None:
            return table, []
        self.renaming.see(self, stored)
        names, replaced = self.renaming.rename(self, table.column_names)
        kept = [number for number, name in enumerate(names) if name is not None]
        return table.select(kept).rename_columns([name for name in names if name is not None]), replaced

    def our_names(self, stored: Sequence[str]) -> list[str]:
        """Return what the columns of a table that was read are called, of all or some of the columns of its files."""
        if self.renaming is None:
            return list(stored)
        return [name for name in self.renaming.rename(self, stored)[0] if name is not None]

    def remember(self, pieces: Sequence[Piece], counts: Sequence[int]) -> None:
        """Note in which files the rows of the table stand.

        Args:
            pieces: The rows of each file, in the order of the table.
            counts: How many rows each piece has.
        """
        self._rows = RowPlaces(list(pieces), list(counts))

    def explain(self, error: InputError) -> InputError:
        """Say an error in the terms of the files: their own names of columns, and the file in which the row stands.

        Args:
            error: An error that names this table, a column by our name, and a row of the table.
        """
        if error.where is None or not error.where.startswith(self):
            return error
        head, tail = str(self), error.where[len(self) :]
        tail = re.sub(r"column '([^']*)'", lambda match: f"column {self._known_as(match[1])!r}", tail)
        row = re.search(r"row ([\d,]+)$", tail)
        place = self._rows.place(int(row[1].replace(",", ""))) if row and self._rows else None
        if row and place is not None:
            head, tail = place[0], f"{tail[: row.start()]}row {place[1]:,}"
        return _ExplainedError(error.problem, where=head + tail, remedy=error.remedy)

    def _known_as(self, column: str) -> str:
        applied = {} if self.renaming is None else self.renaming.applied(self)
        return applied.get(column, column)

    def describe(self) -> dict[str, Any]:
        """Return what a manifest says of the table: its path, size and SHA-256, and more where it is no plain file.

        Two tables have the same SHA-256 when they are read from the same bytes, in the same order, as the same rows and
        columns. It does not matter where the bytes lie.
        """
        source = self.source()
        shards = self.shards()
        view: dict[str, Any] = {}
        if self.selection().sliced:
            view["split"] = self._place_and_split()[1]
        if self.renaming is not None and (applied := self.renaming.applied(self)):
            view["columns"] = applied
        facts = {} if source.revision is None else {"revision": source.revision}
        described = describe_files(_without_secrets(self), [shard.path for shard in shards], view, local=source.local)
        return {**described, **facts}


class _ExplainedError(InputError):
    """An error that is in the terms of the file already."""


def locate(table: Path | str, columns: str | None = None) -> TableLocation:
    """Return the place of a table, without looking it up.

    Args:
        table: A file, a folder or a glob of files, ``hf://NAME``, ``s3://…``, ``https://…``; with ``:SPLIT`` behind it
            for a part of the rows. What is a `TableLocation` already stays as it is.
        columns: What the columns are called: ``"item_id=asin,title=name"``; None means as ours.

    Raises:
        InputError: When ``columns`` has another form, or the name of the table is empty.
    """
    if isinstance(table, TableLocation):
        return table
    if not os.fspath(table):
        raise InputError("the name of a table is empty", remedy="give a file, a folder or an address")
    location = TableLocation(_SCHEME.sub(r"\1://", os.fspath(table), count=1) if isinstance(table, Path) else table)
    location.renaming = Renaming(columns) if columns is not None else None
    return location


def locate_all(tables: Sequence[Path | str | None], columns: str | None = None) -> list[TableLocation | None]:
    """Return the places of all tables that a command reads.

    Args:
        tables: The tables; None for one that was not given.
        columns: What the columns are called. A column is renamed in each table that has it, and one that no table has
            is refused.

    Raises:
        InputError: When ``columns`` has another form, or there is no table.
    """
    places = [None if table is None else locate(table) for table in tables]
    given = [place for place in places if place is not None]
    if columns is not None:
        if not given:
            raise InputError("--columns has no effect here, for no table is given", remedy="leave it out")
        renaming = Renaming(columns, len(set(given)))
        for place in given:
            place.renaming = renaming
    return places


def in_terms_of_the_file(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function that reads a table name columns and rows in its errors as the table's files do.

    Args:
        function: It has a `TableLocation` among its arguments.
    """

    @functools.wraps(function)
    def wrapper(*arguments: P.args, **keywords: P.kwargs) -> T:
        """Call the function."""
        try:
            return function(*arguments, **keywords)
        except _ExplainedError:
            raise
        except InputError as error:
            places = [value for value in (*arguments, *keywords.values()) if isinstance(value, TableLocation)]
            if not places:
                raise
            raise next((place for place in places if error.where and error.where.startswith(place)), places[0]).explain(
                error
            ) from error.__cause__

    return wrapper


def _find_remote(place: str, instruction: str | None) -> Source:
    """Find files that are not on this machine, and bring them here."""
    if on_hub := _HUB_URL.fullmatch(place):
        place = f"hf://datasets/{on_hub[1]}@{on_hub[2]}/{on_hub[3]}"
    if place.startswith("hf://"):
        return hub.find_on_hub(hub.parse_address(place), instruction)
    return Source({ONLY_SPLIT: remote.copy_files(place)}, local=False)


def _find_local(place: str, where: str) -> dict[str, list[Shard]]:
    """Find files of this machine, by split."""
    path = Path(place)
    if path.is_file():
        return {ONLY_SPLIT: [Shard(path, place)]}
    if path.is_dir():
        return folders.folder_splits(path, where)
    if glob.has_magic(place):
        found = [Path(name) for name in sorted(glob.glob(place, recursive=True))]  # noqa: PTH207 (an absolute pattern)
        shards = [Shard(file, str(file)) for file in found if file.is_file() and ending_of(file.name) in ENDINGS]
        if not shards:
            raise InputError("no file matches", where=where, remedy=f"check the path; {KINDS}")
        return {ONLY_SPLIT: shards}
    raise InputError("no such file", where=where, remedy="check the path")


def _without_secrets(address: str) -> str:
    """Return an address without what may give access: its query, and a user's name and password."""
    if not _SCHEME.match(address):
        return str(address)
    parts = urlsplit(address)
    return (
        urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
        if parts.query or ("@" in parts.netloc and parts.scheme != "hf")
        else str(address)
    )
