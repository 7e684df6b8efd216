"""Rows of one user at one time: which of them the file alone orders, and which stand in the table twice.

Many data sets have them: clicks with the time of their session, days without a time of day, a table that was written
twice. A history is in the order of time, so the order of the file decides where times are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from gti_cli.errors import InputError
from gti_cli.options import changed, option

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TIES = ("file", "refuse")
DUPLICATES = ("keep", "drop")


@dataclass(frozen=True)
class InteractionOptions:
    """How a table of interactions is read.

    Attributes:
        ties: What orders the interactions of a user at one time: the order of the ``file``; ``refuse``: nothing, and
            the table is refused.
        duplicates: Rows with user, item, time (and split, if there is that column) of an earlier row: ``keep`` or
            ``drop``.
    """

    ties: str = option(
        "file", "A user's interactions at one time: file: in the order of the file; refuse: refuse the table."
    )
    duplicates: str = option("keep", "Rows with user, item and time of an earlier row: keep or drop.")

    def check(self, *, reads_table: bool = True) -> None:
        """Check the values.

        Args:
            reads_table: Whether a table of interactions is read at all.

        Raises:
            InputError: When a value is unknown, or an option was given and there is no such table.
        """
        for name, choices in (("ties", TIES), ("duplicates", DUPLICATES)):
            if getattr(self, name) not in choices:
                raise InputError(f"--{name} {getattr(self, name)!r} is not known", remedy=f"use {' or '.join(choices)}")
        for name in changed(self):
            if not reads_table:
                raise InputError(f"--{name} is about a table of interactions, and none is read", remedy="leave it out")

    def recorded(self) -> dict[str, str]:
        """Return the options that change a result, for the manifest; only those that were given."""
        return {name: value for name, value in changed(self).items() if name == "duplicates"}


class InteractionKeywords(TypedDict, total=False):
    """`InteractionOptions` as keywords."""

    ties: str
    duplicates: str


@dataclass(frozen=True)
class OrderedRows:
    """The rows of a table by user, then time; at equal times in the order of the file.

    Attributes:
        order: (M,) the row numbers, from 0.
        undecided: (M,) bool: the row has user and time of a row that says something else, so that the order of the file
            decides which of the two came first.
        counts: ``equal_times``, rows that have user and time of another row; ``repeated_rows``, rows that say the same
            as an earlier row (whether or not they were dropped).
    """

    order: npt.NDArray[np.intp]
    undecided: npt.NDArray[np.bool_]
    counts: dict[str, int]


def order_rows(
    users: npt.NDArray[np.int32] | npt.NDArray[np.int64],
    times: npt.NDArray[np.int64] | npt.NDArray[np.float64],
    contents: Callable[[npt.NDArray[np.intp]], npt.NDArray[np.int64]],
    *,
    drop_repeated: bool = False,
) -> OrderedRows:
    """Order the rows of a table, and find those that share user and time.

    Args:
        users: (N,) the number of each row's user, from 0.
        times: (N,) the time of each row.
        contents: From row numbers to what these rows say besides, as a number from 0. It is asked only for rows that
            share user and time.
        drop_repeated: Leave out rows that say the same as an earlier row.
    """
    import numpy as np

    order = _by_user_and_time(users, times)
    follows = np.zeros(len(order), dtype=bool)  # has user and time of the row before it
    sorted_users, sorted_times = users[order], times[order]
    follows[1:] = (sorted_users[1:] == sorted_users[:-1]) & (sorted_times[1:] == sorted_times[:-1])
    shares = follows.copy()
    shares[:-1] |= follows[1:]
    places = np.flatnonzero(shares)
    if not len(places):
        return OrderedRows(order, shares, {"equal_times": 0, "repeated_rows": 0})
    repeated, undecided = np.zeros_like(shares), np.zeros_like(shares)
    groups = np.cumsum(~follows[places]) - 1  # the rows of one user at one time are a group
    repeated[places], undecided[places] = _compare_groups(groups, contents(order[places]))
    repeated_rows = int(repeated.sum())
    if drop_repeated:
        # Of each group one row is left for each thing that it says: it shares its time if there is another one.
        order, shares, undecided = order[~repeated], undecided[~repeated], undecided[~repeated]
    return OrderedRows(order, undecided, {"equal_times": int(shares.sum()), "repeated_rows": repeated_rows})


def _by_user_and_time(
    users: npt.NDArray[np.int32] | npt.NDArray[np.int64], times: npt.NDArray[np.int64] | npt.NDArray[np.float64]
) -> npt.NDArray[np.intp]:
    """The row numbers by user, then time; equal rows stay in the order of the file."""
    import numpy as np

    order = _by_number(users)
    later = np.diff(times[order]) >= 0
    later |= np.diff(users[order]) > 0
    if later.all():  # The file has each user's rows in the order of time, as a log does.
        return order
    by_time = np.argsort(times, kind="stable")
    return by_time[_by_number(users[by_time])]


def _by_number(numbers: npt.NDArray[np.int32] | npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """A stable order of numbers from 0; numpy orders 16 bits at a time without comparisons."""
    import numpy as np

    order = np.argsort(numbers.astype(np.uint16), kind="stable")  # the lower 16 bits
    highest = int(numbers.max(initial=0))
    for shift in range(16, highest.bit_length(), 16):
        order = order[np.argsort((numbers >> shift).astype(np.uint16)[order], kind="stable")]
    return order


def row_contents(
    items: npt.NDArray[np.int32], labels: npt.NDArray[np.int32] | None
) -> Callable[[npt.NDArray[np.intp]], npt.NDArray[np.int64]]:
    """Return the argument ``contents`` of `order_rows`: the same number where item and label are the same.

    Args:
        items: (N,) the number of each row's item.
        labels: (N,) the number of each row's split; None without that column.
    """
    import numpy as np

    def numbers(rows: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
        """Return the numbers of some rows."""
        of_items: npt.NDArray[np.int64] = items[rows].astype(np.int64)
        return of_items if labels is None else of_items * (int(labels.max()) + 1) + labels[rows].astype(np.int64)

    return numbers


def _compare_groups(
    groups: npt.NDArray[np.int64], contents: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Compare the rows of each group.

    Args:
        groups: (P,) the group of each row, ascending from 0.
        contents: (P,) what each row says, as a number from 0.

    Returns:
        (P,) bool: the row says the same as an earlier one of its group. (P,) bool: the group says different things.
    """
    import numpy as np

    keys = groups * (int(contents.max()) + 1) + contents
    order = np.argsort(keys, kind="stable")  # of the rows that say the same, the first of the file leads
    repeated = np.zeros(len(groups), dtype=bool)
    repeated[order[1:][np.diff(keys[order]) == 0]] = True
    return repeated, np.bincount(groups[~repeated])[groups] > 1
