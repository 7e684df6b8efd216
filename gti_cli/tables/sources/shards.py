"""The files that a table consists of, and which of their rows a caller asked for.

A table may be one file or many, its shards, which divide its rows. Shards belong to splits, as the `datasets` library
calls the parts of a data set (``train``, ``test``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.errors import InputError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET = (".parquet", ".pq")
ARROW = (".arrow",)
TEXT_FILES = (".csv", ".tsv", ".jsonl", ".json", ".ndjson")
ENDINGS = (*PARQUET, *ARROW, *TEXT_FILES)
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
ONLY_SPLIT = "train"  # the split of files that belong to none, as `datasets` calls it
EVERY_SPLIT = "all"
KINDS = "give a .parquet, .csv, .tsv, .jsonl or .arrow file, also compressed (.gz)"


def ending_of(name: str) -> str:
    """Return the ending that says the kind of a file, in lower case: ``".csv"`` for ``"a.CSV.gz"``.

    Args:
        name: The name of the file.
    """
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in COMPRESSIONS else path.suffix


@dataclass(frozen=True)
class Shard:
    """A file of a table.

    Attributes:
        path: The file on this machine.
        name: The file as the caller knows it, for error lines: a URL where it was downloaded.
        delimiter: What separates the columns of a CSV file; "" means that the ending of the file decides.
    """

    path: Path
    name: str
    delimiter: str = ""

    @property
    def ending(self) -> str:
        """The ending that says the kind of the file."""
        return ending_of(self.path.name)

    @property
    def compressed(self) -> bool:
        """Whether the file has to be decompressed."""
        return self.path.suffix.lower() in COMPRESSIONS

    @property
    def by_columns(self) -> bool:
        """Whether single columns can be read, without the others: in Parquet and Arrow files."""
        return self.ending in (*PARQUET, *ARROW) and not self.compressed


@dataclass(frozen=True)
class Source:
    """The files of a data set, found and on this machine.

    Attributes:
        splits: Split -> its files in order. Files without splits are one split, `ONLY_SPLIT`.
        local: Whether these are the caller's own files, and no copies of files elsewhere.
        revision: The commit of a data set on the Hugging Face hub.
    """

    splits: dict[str, list[Shard]]
    local: bool = True
    revision: str | None = None


@dataclass(frozen=True)
class Piece:
    """Rows of a shard.

    Attributes:
        shard: The file.
        start: The first row, from 0.
        stop: The row after the last one; None means all to the end of the file.
    """

    shard: Shard
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class Selection:
    """Which splits of a data set, and which of their rows, make the table.

    Attributes:
        where: The table as the caller named it, for error lines.
        splits: Split -> its files in order.
        instruction: What the caller wrote: ``"train"``, ``"train+test"``, ``"train[:500]"``, ``"train[10%:20%]"``,
            ``"all"``; None means the only split.
    """

    where: str
    splits: Mapping[str, Sequence[Shard]]
    instruction: str | None

    @property
    def sliced(self) -> bool:
        """Whether the caller asked for some rows of a split."""
        return self.instruction is not None and "[" in self.instruction

    def names(self) -> list[str]:
        """Return the splits that the caller asked for, in that order.

        Raises:
            InputError: When a split does not exist, or there are several and none was named.
        """
        if self.instruction is None:
            if len(self.splits) > 1:
                first = next(iter(self.splits))
                raise InputError(
                    f"there are the splits {', '.join(self.splits)}, and none was named",
                    where=self.where,
                    remedy=f"name one, as in {self.where}:{first}, several ({'+'.join(self.splits)}), or all",
                )
            return list(self.splits)
        names = [re.split(r"[\[(]", part)[0] for part in self.instruction.split("+")]
        if names == [EVERY_SPLIT] and EVERY_SPLIT not in self.splits:
            return list(self.splits)
        for name in names:
            if name not in self.splits:
                raise InputError(
                    f"there is no split {name!r}", where=self.where, remedy=f"use {', '.join(self.splits)} or all"
                )
        return names

    def shards(self) -> list[Shard]:
        """Return the files of the splits that the caller asked for, each once.

        Raises:
            InputError: See `names`.
        """
        return list(dict.fromkeys(shard for name in self.names() for shard in self.splits[name]))

    def pieces(self, rows_of: Callable[[Shard], int]) -> list[Piece]:
        """Return the rows that the caller asked for, in order.

        Args:
            rows_of: Counts the rows of a file. It is called only where the caller asked for some rows of a split.

        Raises:
            InputError: See `names`.
            InputError: When the rows do not exist, or are written in another way than `datasets` writes them.
        """
        names = self.names()
        if not self.sliced:
            return [Piece(shard) for name in names for shard in self.splits[name]]
        import datasets

        lengths = {name: sum(rows_of(shard) for shard in self.splits[name]) for name in names}
        try:
            ranges = datasets.ReadInstruction.from_spec(self.instruction).to_absolute(lengths)
        except (ValueError, AssertionError) as cause:
            counts = ", ".join(f"{name} has {rows:,} rows" for name, rows in lengths.items())
            raise InputError(
                f"these rows cannot be read: {first_line(cause)} ({counts})",
                where=self.where,
                remedy="write for example train[:500], train[100:200] or train[:10%]",
            ) from cause
        return [piece for part in ranges for piece in self._range(part.splitname, part.from_, part.to, rows_of)]

    def _range(self, name: str, start: int | None, stop: int | None, rows_of: Callable[[Shard], int]) -> list[Piece]:
        """Divide rows ``start`` to ``stop`` of a split among its files."""
        pieces, before = [], 0
        for shard in self.splits[name]:
            rows = rows_of(shard)
            first, last = max((start or 0) - before, 0), min((rows + before if stop is None else stop) - before, rows)
            if first < last:
                pieces.append(Piece(shard, first, last))
            before += rows
        return pieces


def check_kinds(shards: Sequence[Shard], where: str) -> None:
    """Refuse files that are no tables, or tables of different kinds.

    Args:
        shards: The files of a table.
        where: The table as the caller named it.

    Raises:
        InputError: See above.
    """
    kinds: dict[str, Shard] = {}
    for shard in shards:
        if shard.ending not in ENDINGS:
            raise InputError(f"the ending {shard.ending!r} is not known", where=shard.name, remedy=KINDS)
        kinds.setdefault(shard.ending, shard)
    if len(kinds) > 1:
        first, second = list(kinds.values())[:2]
        raise InputError(
            f"its files are of different kinds ({first.path.name}, {second.path.name})",
            where=where,
            remedy=f"name those of one kind, as in '*{first.ending}'",
        )


def join(tables: Sequence[pa.Table], shards: Sequence[Shard], where: str) -> pa.Table:
    """Join the tables of several files.

    Args:
        tables: One table for each file.
        shards: The files.
        where: The table as the caller named it.

    Raises:
        InputError: When the tables differ in their columns, or a column in its type.
    """
    import pyarrow as pa

    if len(tables) == 1:
        return tables[0]
    first = tables[0]
    for table, shard in zip(tables, shards, strict=True):
        lacking = [name for name in first.column_names if name not in table.column_names]
        surplus = [name for name in table.column_names if name not in first.column_names]
        if lacking or surplus:
            differences = [f"{shard.path.name} lacks {', '.join(map(repr, lacking))}"] if lacking else []
            differences += [f"{shard.path.name} also has {', '.join(map(repr, surplus))}"] if surplus else []
            raise InputError(
                f"its files differ in their columns: beside {shards[0].path.name}, {' and '.join(differences)}",
                where=where,
                remedy="name files that belong to one table, for example by a glob",
            )
    try:
        return pa.concat_tables([table.select(first.column_names) for table in tables], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as cause:
        raise _differing_types(tables, shards, where, first_line(cause)) from cause


def _differing_types(tables: Sequence[pa.Table], shards: Sequence[Shard], where: str, message: str) -> InputError:
    """Return the error for a column that has types which do not go together."""
    import pyarrow as pa

    remedy = "write the column with one type in all files"
    for table, shard in zip(tables[1:], shards[1:], strict=True):
        for name in tables[0].column_names:
            pair = [tables[0].schema.field(name), table.schema.field(name)]
            try:
                pa.unify_schemas([pa.schema([entry]) for entry in pair], promote_options="permissive")
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
                return InputError(
                    f"the column is {pair[0].type} in {shards[0].path.name} and {pair[1].type} in {shard.path.name}",
                    where=f"{where}, column {name!r}",
                    remedy=remedy,
                )
    return InputError(f"its files do not go together: {message}", where=where, remedy=remedy)


@dataclass
class RowPlaces:
    """In which file a row of a joined table stands.

    Attributes:
        pieces: The rows of each file, in the order in which they were joined.
        counts: How many rows each piece has.
    """

    pieces: list[Piece] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def place(self, row: int) -> tuple[str, int] | None:
        """Return the name of the file and the row in it; None where the table is one whole file.

        Args:
            row: The row of the joined table, from 1.
        """
        if len(self.pieces) == 1 and not self.pieces[0].start:
            return None
        for piece, count in zip(self.pieces, self.counts, strict=True):
            if row <= count:
                return piece.shard.name, piece.start + row
            row -= count
        return None
