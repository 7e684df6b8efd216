"""The options of `gti import`, checked before a file is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from gti_cli.errors import InputError
from gti_cli.options import option

DUPLICATES = ("keep", "first", "last")


@dataclass(frozen=True)
class ImportOptions:
    """How to read, and what to leave out. Nothing is left out unless asked.

    Attributes:
        format: Name of the format; None: found from the files.
        columns: Names of the columns of any other table, ``OURS=THEIRS`` with commas between.
        k_core: Least interactions of every user and every item.
        min_rating: Lowest rating that counts.
        since: First day or time, inclusive.
        until: Last day or time, inclusive.
        max_users: Most users, drawn by the seed.
        duplicates: What to do with several interactions of one user with one item.
    """

    format: str | None = option(None, "Format of the files.", shown="found from the files")
    columns: str | None = option(None, "Columns of any other table: user_id=reviewerID,item_id=asin,…")
    k_core: int | None = option(None, "Keep users and items with at least so many interactions, until all have them.")
    min_rating: float | None = option(None, "Drop interactions with a lower rating, or with none.")
    since: str | None = option(None, "Drop interactions before this day or time (2018-05-30).")
    until: str | None = option(None, "Drop interactions after this day or time.")
    max_users: int | None = option(None, "Draw at most so many users.")
    duplicates: str = option("keep", "Same user and item several times: keep all, the first or the last.")

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            InputError: An option is out of range, or two contradict each other.
        """
        if self.duplicates not in DUPLICATES:
            raise InputError(f"--duplicates {self.duplicates!r} is not known", remedy=f"use {', '.join(DUPLICATES)}")
        for name, value in (("--k-core", self.k_core), ("--max-users", self.max_users)):
            if value is not None and value < 1:
                raise InputError(f"{name} {value} is too small", remedy="give a whole number from 1")
        if self.format is not None and self.columns is not None:
            raise InputError("--format and --columns exclude each other", remedy="leave one of them out")


class ImportKeywords(TypedDict, total=False):
    """`ImportOptions` as keywords."""

    format: str | None
    columns: str | None
    k_core: int | None
    min_rating: float | None
    since: str | None
    until: str | None
    max_users: int | None
    duplicates: str
    seed: int
    force: bool
