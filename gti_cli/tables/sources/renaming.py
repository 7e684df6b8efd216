"""``--columns OURS=THEIRS``: what the columns of the caller's tables are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gti_cli.errors import InputError, list_some

# Every column that some table of gti has.
OUR_COLUMNS = (
    *("item_id", "title", "description", "brand", "categories", "embedding"),
    *("user_id", "timestamp", "split", "rating", "intent", "preference"),
    *("query", "query_id", "relevance", "score"),
    *("text", "tokens", "token", "context"),
)


def parse_pairs(text: str) -> dict[str, str]:
    """Parse ``"user_id=reviewerID,item_id=asin"``.

    Args:
        text: As the caller wrote it.

    Returns:
        Our names -> those of the file.

    Raises:
        InputError: When the text has another form, or a name occurs twice on one side.
    """
    names: dict[str, str] = {}
    for part in text.split(","):
        ours, equals, theirs = (piece.strip() for piece in part.partition("="))
        if not equals or not ours or not theirs:
            raise InputError(
                f"--columns {part.strip()!r} is no pair of names",
                remedy="write OURS=THEIRS, for example user_id=reviewerID,item_id=asin,timestamp=unixReviewTime",
            )
        if ours in names or theirs in names.values():
            raise InputError(
                f"--columns names {ours if ours in names else theirs!r} twice", remedy="give each column one name"
            )
        names[ours] = theirs
    return names


class Renaming:
    """The columns of the tables of one command, by our names.

    Each table is renamed in so far as it has the columns: of two tables, one may have one column and the other another.

    Args:
        text: As the caller wrote it, see `parse_pairs`.
        tables: How many tables the command reads.

    Raises:
        InputError: When the text has another form, or one of our names is that of no table.
    """

    def __init__(self, text: str, tables: int = 1) -> None:
        self.names = parse_pairs(text)
        unknown = [ours for ours in self.names if ours not in OUR_COLUMNS]
        if unknown:
            raise InputError(
                f"--columns names {list_some(unknown)}, which no table of gti has",
                remedy=f"on the left of '=' use {', '.join(OUR_COLUMNS)}",
            )
        self._tables = tables
        self._columns_of: dict[str, list[str]] = {}  # table -> the names of its columns, once it was read

    def theirs(self, ours: str) -> str:
        """Return what the tables call a column of ours, where the caller said so; else our own name."""
        return self.names.get(ours, ours)

    def applied(self, where: str) -> dict[str, str]:
        """Return our names -> theirs, of the columns that a table has; of one that was not read yet, all."""
        columns = self._columns_of.get(where)
        return {ours: theirs for ours, theirs in self.names.items() if columns is None or theirs in columns}

    def see(self, where: str, columns: Sequence[str]) -> None:
        """Take note of the columns of a table.

        Args:
            where: The table.
            columns: The names of its columns, as the table has them.

        Raises:
            InputError: When all tables of the command are known, and none has a column that the caller named.
        """
        self._columns_of[where] = list(columns)
        if len(self._columns_of) < self._tables:
            return
        known = {name for names in self._columns_of.values() for name in names}
        unknown = [theirs for theirs in self.names.values() if theirs not in known]
        if unknown:
            raise InputError(
                f"--columns names {list_some(unknown)}, and there is no such column",
                where=" and ".join(self._columns_of),
                remedy=f"the columns are {_columns_by_table(self._columns_of)}",
            )

    def rename(self, where: str, columns: Sequence[str]) -> tuple[list[str | None], list[str]]:
        """Return the names that the columns of a table get.

        Args:
            where: The table.
            columns: The names of its columns, as the table has them.

        Returns:
            For each column its new name, None for a column that gives way to another one; and the names of those.
        """
        ours_of = {theirs: ours for ours, theirs in self.applied(where).items()}
        replaced = [name for name in columns if name in ours_of.values() and name not in ours_of]
        return [None if name in replaced else ours_of.get(name, name) for name in columns], replaced


def _columns_by_table(columns_of: Mapping[str, Sequence[str]]) -> str:
    if len(columns_of) == 1:
        return ", ".join(next(iter(columns_of.values())))
    return "; ".join(f"{', '.join(columns)} ({where})" for where, columns in columns_of.items())
