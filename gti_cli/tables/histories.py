"""Read users' interactions and divide them into training, validation and test.

Without a ``split`` column, the division is leave-one-out, as in the paper: a user's last interaction is the test
target, the one before it is the validation target, and all earlier ones are for training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import console, tables
from gti_cli.errors import InputError
from gti_cli.tables.columns import name_unread, refuse_unknown_items
from gti_cli.tables.equal_times import InteractionOptions, OrderedRows, order_rows, row_contents
from gti_cli.tables.sources.location import in_terms_of_the_file
from gti_cli.tables.times import read_times

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

SPLITS = ("train", "valid", "test")
# All columns that some stage reads; the last two are texts for the tasks of LC-Rec.
COLUMNS = ("user_id", "item_id", "timestamp", "split", "intent", "preference")
MIN_LENGTH = 3  # leave-one-out needs one interaction each for training, validation and test


@dataclass(frozen=True)
class Interactions:
    """All interactions of a table, by user. Users stand in the order in which the table first names them.

    Attributes:
        items: User -> item ids in time order. Interactions at the same time keep the order of the file.
        split: User -> ``train``, ``valid`` or ``test`` for each of these items; None without a ``split`` column.
        path: The file, for error lines.
        texts: Column -> user -> one text for each of these items, for further text columns; "" if it is missing.
        undecided: (M,) bool for the items of all users, one user behind the other: the user has another item at the
            same time, so that the order of the file decides which of them came first. None: no item is.
        counts: ``equal_times`` and ``repeated_rows``, see `gti_cli.tables.equal_times.OrderedRows`.
    """

    items: dict[str, list[str]]
    split: dict[str, list[str]] | None
    path: str
    texts: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    undecided: npt.NDArray[np.bool_] | None = None
    counts: dict[str, int] = field(default_factory=dict)

    def labels(self, user: str) -> list[str]:
        """Return ``train``, ``valid`` or ``test`` for each of the user's items: by column, else leave-one-out."""
        return self.split[user] if self.split is not None else _leave_one_out_labels(len(self.items[user]))

    def is_undecided(self, place: int) -> bool:
        """Tell whether the order of the file decides the place of an item.

        Args:
            place: The number of the item, counted over all users.
        """
        return self.undecided is not None and bool(self.undecided[place])


@dataclass(frozen=True)
class History:
    """A target and the interactions before it.

    Attributes:
        user_id: The user.
        items: The ids of all items before the target, in time order; at least one.
        target: The id of the item that should be recommended next.
    """

    user_id: str
    items: list[str]
    target: str


@dataclass(frozen=True)
class Splits:
    """Interactions divided into training, validation and test.

    Attributes:
        train: User -> the ids of the items for training, in time order. Users without any are left out.
        valid: One entry for each validation target.
        test: One entry for each test target. Its ``items`` include the validation item before it.
        counts: The numbers of users, interactions, items, users_too_short, users_with_one_interaction,
            train_interactions, train_items (distinct), valid_targets, test_targets, targets_without_history (which are
            left out), valid_targets_by_file_order and test_targets_by_file_order (whose user has another item at the
            same time), equal_times and repeated_rows.
    """

    train: dict[str, list[str]]
    valid: list[History]
    test: list[History]
    counts: dict[str, int]


@in_terms_of_the_file
def read_interactions(
    path: Path | str,
    catalogue: Collection[str],
    texts: Sequence[str] = (),
    options: InteractionOptions = InteractionOptions(),
) -> Interactions:
    """Read a table with the columns ``user_id``, ``item_id``, ``timestamp`` and optionally ``split``.

    Messages on stderr say how many rows share user and time with another row, and how many stand in the table twice.

    Args:
        path: A table, see `gti_cli.tables.locate`; its rows may stand in any order.
        catalogue: The ids of all items that have a semantic ID.
        texts: Further text columns to read, if the table has them.
        options: What becomes of a user's rows at one time, and of rows that stand in the table twice.

    Raises:
        InputError: When a column or a value is missing, or a time cannot be read.
        InputError: When an item is not in the catalogue.
        InputError: When a value of ``split`` is none of `SPLITS`.
        InputError: When the order of the file decides between rows, and the options refuse that.
    """
    import numpy as np

    options.check()
    table = tables.read(path, ["user_id", "item_id", "timestamp"])
    name_unread(table, (*COLUMNS, *texts), path)
    users = tables.ids(table, "user_id", path)
    items = tables.ids(table, "item_id", path)
    refuse_unknown_items(items, catalogue, path, "interactions")
    labels = tables.strings(table, "split", path) if "split" in table.column_names else None
    if labels is not None:
        _check_labels(labels, path)
    times = read_times(table, "timestamp", path)

    number_of = {user: n for n, user in enumerate(dict.fromkeys(users))}
    user_numbers = np.fromiter((number_of[user] for user in users), dtype=np.int64, count=len(users))
    contents = row_contents(table.column("item_id"), labels)
    rows = order_rows(user_numbers, times, contents, drop_repeated=options.duplicates == "drop")
    if options.ties == "refuse" and rows.undecided.any():
        raise _ties_error(rows, users, table.column("timestamp"), path)
    _report_rows(rows, len(users), options)
    items_of: dict[str, list[str]] = {user: [] for user in number_of}
    labels_of: dict[str, list[str]] = {user: [] for user in number_of}
    columns = {name: tables.strings(table, name, path) for name in texts if name in table.column_names}
    texts_of: dict[str, dict[str, list[str]]] = {name: {user: [] for user in number_of} for name in columns}
    for row in rows.order.tolist():
        items_of[users[row]].append(items[row])
        if labels is not None:
            labels_of[users[row]].append(labels[row])
        for name, column in columns.items():
            texts_of[name][users[row]].append(column[row])
    split_labels = labels_of if labels is not None else None
    return Interactions(items_of, split_labels, str(path), texts_of, rows.undecided, rows.counts)


def _ties_error(rows: OrderedRows, users: Sequence[str], times: pa.ChunkedArray, path: Path | str) -> InputError:
    """Make the error of ``--ties refuse``."""
    undecided = rows.order[rows.undecided]
    first = int(undecided.min())
    concerned = len({users[row] for row in undecided.tolist()})
    return InputError(
        f"the order of the file decides between {len(undecided):,} of {len(users):,} rows, which {concerned:,} users "
        f"have at equal times (first: user {users[first]!r}, time {times[first].as_py()})",
        where=f"{path}, column 'timestamp', row {first + 1:,}",
        remedy="give these rows times that differ, or use --ties file",
    )


def _report_rows(rows: OrderedRows, total: int, options: InteractionOptions) -> None:
    """Say how many rows share user and time, and how many stand in the table twice."""
    repeated, equal = rows.counts["repeated_rows"], rows.counts["equal_times"]
    if repeated and options.duplicates == "drop":
        console.note(f"{repeated:,} of {total:,} rows have user, item and time of an earlier row, and are dropped")
    elif repeated:
        console.warn(
            f"{repeated:,} of {total:,} rows have user, item and time of an earlier row: they stand in the histories "
            "twice, and a target may be the item before it (--duplicates drop leaves them out)"
        )
    if rows.undecided.any():
        console.note(
            f"{equal:,} of {len(rows.order):,} rows share user and time with another row; the order of the file "
            "decides which came first (--ties refuse refuses such a table)"
        )


def _check_labels(labels: Sequence[str], path: Path | str) -> None:
    for row, label in enumerate(labels, start=1):
        if label not in SPLITS:
            raise InputError(
                f"{label!r} is no split",
                where=f"{path}, column 'split', row {row:,}",
                remedy="write train, valid or test in every row, or drop the column for leave-one-out",
            )


def split(interactions: Interactions, *, quiet: bool = False) -> Splits:
    """Divide interactions into training, validation and test.

    With a ``split`` column, every row marked valid or test is a target, and its history is all that the user did
    before. A target without any earlier interaction is left out. Without the column, the division is leave-one-out:
    users with fewer than `MIN_LENGTH` interactions are for training only. A message on stderr says how many users and
    targets this concerns, unless ``quiet``.

    Raises:
        InputError: When there is no target at all.
    """
    train: dict[str, list[str]] = {}
    targets: dict[str, list[History]] = {"valid": [], "test": []}
    without_history, start = 0, 0
    by_file_order = dict.fromkeys(SPLITS[1:], 0)
    for user, items in interactions.items.items():
        labels = interactions.labels(user)
        train_items = [item for item, label in zip(items, labels, strict=True) if label == "train"]
        if train_items:
            train[user] = train_items
        for position, label in enumerate(labels):
            if label == "train":
                continue
            if position == 0:
                without_history += 1
            else:
                targets[label].append(History(user, items[:position], items[position]))
                by_file_order[label] += interactions.is_undecided(start + position)
        start += len(items)
    if not targets["valid"] and not targets["test"]:
        raise InputError(
            "no user can be evaluated: "
            + (
                "no row with an earlier interaction is marked valid or test"
                if interactions.split is not None
                else f"none has {MIN_LENGTH} interactions"
            ),
            where=interactions.path,
            remedy=f"give histories of at least {MIN_LENGTH} interactions",
        )
    counts = _count(interactions, train, targets, without_history)
    counts |= {f"{label}_targets_by_file_order": number for label, number in by_file_order.items()}
    counts |= interactions.counts
    if not quiet:
        _report(counts, interactions)
    return Splits(train, targets["valid"], targets["test"], counts)


def _leave_one_out_labels(length: int) -> list[str]:
    return ["train"] * length if length < MIN_LENGTH else ["train"] * (length - 2) + ["valid", "test"]


def _count(
    interactions: Interactions, train: dict[str, list[str]], targets: dict[str, list[History]], without_history: int
) -> dict[str, int]:
    lengths = Counter(len(items) for items in interactions.items.values())
    return {
        "users": len(interactions.items),
        "interactions": sum(length * users for length, users in lengths.items()),
        "items": len({item for items in interactions.items.values() for item in items}),
        "users_too_short": sum(users for length, users in lengths.items() if length < MIN_LENGTH),
        "users_with_one_interaction": lengths[1],
        "train_interactions": sum(len(items) for items in train.values()),
        "train_items": len({item for items in train.values() for item in items}),
        "valid_targets": len(targets["valid"]),
        "test_targets": len(targets["test"]),
        "targets_without_history": without_history,
    }


def _report(counts: dict[str, int], interactions: Interactions) -> None:
    if interactions.split is None and counts["users_too_short"]:
        console.note(
            f"{counts['users_too_short']:,} of {counts['users']:,} users have fewer than {MIN_LENGTH} interactions "
            f"({counts['users_with_one_interaction']:,} have one): they are for training only and not evaluated"
        )
    if counts["targets_without_history"]:
        console.warn(
            f"{counts['targets_without_history']:,} validation or test rows have no earlier interaction of their user "
            "and are left out"
        )
    parts = {"test": "test", "valid": "validation"}
    by_file_order = [
        f"{counts[f'{part}_targets_by_file_order']:,} of {counts[f'{part}_targets']:,} {name} targets"
        for part, name in parts.items()
        if counts[f"{part}_targets_by_file_order"]
    ]
    if by_file_order:
        console.note(
            f"the order of the file decides {' and '.join(by_file_order)}: their users have another item at the same "
            "time"
        )
