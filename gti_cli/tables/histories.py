"""Read users' interactions and divide them into training, validation and test.

Without a ``split`` column, the division is leave-one-out, as in the paper: a user's last interaction is the test
target, the one before it is the validation target, and all earlier ones are for training.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import console, tables
from gti_cli.errors import InputError
from gti_cli.tables.arrays.encoded import EncodedColumn, encode_ids, encode_strings
from gti_cli.tables.arrays.names import Names
from gti_cli.tables.arrays.ragged import offsets_of
from gti_cli.tables.arrays.targets import History, Targets
from gti_cli.tables.arrays.user_lists import Texts, UserLists
from gti_cli.tables.columns import name_unread, refuse_unknown_items
from gti_cli.tables.equal_times import InteractionOptions, OrderedRows, order_rows, row_contents
from gti_cli.tables.sources.location import in_terms_of_the_file
from gti_cli.tables.times import read_times

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["History", "Interactions", "Splits", "read_interactions", "split"]

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

    items: Mapping[str, list[str]]
    split: Mapping[str, list[str]] | None
    path: str
    texts: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)
    undecided: npt.NDArray[np.bool_] | None = None
    counts: dict[str, int] = field(default_factory=dict)

    @cached_property
    def lists(self) -> UserLists:
        """The items as arrays."""
        return UserLists.of(self.items)

    def labels(self, user: str) -> list[str]:
        """Return ``train``, ``valid`` or ``test`` for each of the user's items: by column, else leave-one-out."""
        return self.split[user] if self.split is not None else _leave_one_out_labels(len(self.items[user]))

    def parts(self) -> npt.NDArray[np.int8]:
        """(M,) the same for the items of all users, one user behind the other, as places in `SPLITS`."""
        import numpy as np

        if self.split is not None:
            given = UserLists.of(self.split)
            return np.asarray([SPLITS.index(label) for label in given.texts], dtype=np.int8)[given.codes]
        parts = np.zeros(len(self.lists.codes), dtype=np.int8)
        last = self.lists.offsets[1:][self.lists.lengths >= MIN_LENGTH] - 1
        parts[last], parts[last - 1] = SPLITS.index("test"), SPLITS.index("valid")
        return parts


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

    train: Mapping[str, list[str]]
    valid: Sequence[History]
    test: Sequence[History]
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
    import pyarrow as pa

    options.check()
    table = tables.read(path, ["user_id", "item_id", "timestamp"], encoded=["user_id", "item_id"])
    name_unread(table, (*COLUMNS, *texts), path)
    users, table = encode_ids(table, "user_id", path), table.drop_columns(["user_id"])  # a column is not held twice
    items, table = encode_ids(table, "item_id", path), table.drop_columns(["item_id"])
    item_names = Texts(Names(items.texts))
    refuse_unknown_items(item_names, catalogue, path, "interactions", items.codes)
    labels = encode_strings(table, "split", path) if "split" in table.column_names else None
    if labels is not None:
        _check_labels(labels, path)
    times = read_times(table, "timestamp", path)
    rows = order_rows(
        users.codes,
        times,
        row_contents(items.codes, labels.codes if labels is not None else None),
        drop_repeated=options.duplicates == "drop",
    )
    if options.ties == "refuse" and rows.undecided.any():
        raise _ties_error(rows, users, table.column("timestamp"), path)
    _report_rows(rows, len(users.codes), options)
    order = rows.order
    lengths = np.bincount(users.codes if len(order) == len(users.codes) else users.codes[order])
    names, offsets = Names(users.texts), offsets_of(lengths)
    columns = {name: encode_strings(table, name, path) for name in texts if name in table.column_names}
    del table, times
    pa.default_memory_pool().release_unused()  # what the table took, which is more than all that is left

    def by_user(column: EncodedColumn, of_codes: Texts | None = None) -> UserLists:
        """A column of the table, divided by users."""
        return UserLists(names, offsets, column.codes[order], of_codes or Texts(Names(column.texts)))

    return Interactions(
        by_user(items, item_names),
        by_user(labels) if labels is not None else None,
        str(path),
        {name: by_user(column) for name, column in columns.items()},
        rows.undecided,
        rows.counts,
    )


def _ties_error(rows: OrderedRows, users: EncodedColumn, times: pa.ChunkedArray, path: Path | str) -> InputError:
    """Make the error of ``--ties refuse``."""
    import numpy as np

    undecided = rows.order[rows.undecided]
    first = int(undecided.min())
    concerned = len(np.unique(users.codes[undecided]))
    user = users.texts[int(users.codes[first])].as_py()
    return InputError(
        f"the order of the file decides between {len(undecided):,} of {len(users.codes):,} rows, which {concerned:,} "
        f"users have at equal times (first: user {user!r}, time {times[first].as_py()})",
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


def _check_labels(labels: EncodedColumn, path: Path | str) -> None:
    for code, label in enumerate(labels.texts.to_pylist()):  # in the order of the rows that first have them
        if label not in SPLITS:
            raise InputError(
                f"{label!r} is no split",
                where=f"{path}, column 'split', row {labels.first_row(code):,}",
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
    import numpy as np

    lists, parts = interactions.lists, interactions.parts()
    train = lists.where(parts == SPLITS.index("train"))
    targets: dict[str, Targets] = {}
    without_history = 0
    for label in SPLITS[1:]:
        places = np.flatnonzero(parts == SPLITS.index(label))
        owners = np.searchsorted(lists.offsets, places, side="right") - 1  # never a user without an item
        has_history = places > lists.offsets[owners]
        without_history += len(places) - int(has_history.sum())
        targets[label] = Targets(lists, owners[has_history], places[has_history])
    if not len(targets["valid"]) and not len(targets["test"]):
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
    counts = _count(lists, train, targets, without_history)
    for label, entries in targets.items():
        undecided = 0 if interactions.undecided is None else int(interactions.undecided[entries.places].sum())
        counts[f"{label}_targets_by_file_order"] = undecided
    counts |= interactions.counts
    if not quiet:
        _report(counts, interactions)
    return Splits(train, targets["valid"], targets["test"], counts)


def _leave_one_out_labels(length: int) -> list[str]:
    return ["train"] * length if length < MIN_LENGTH else ["train"] * (length - 2) + ["valid", "test"]


def _count(lists: UserLists, train: UserLists, targets: Mapping[str, Targets], without_history: int) -> dict[str, int]:
    lengths = lists.lengths
    return {
        "users": len(lists),
        "interactions": len(lists.codes),
        "items": lists.distinct(),
        "users_too_short": int((lengths < MIN_LENGTH).sum()),
        "users_with_one_interaction": int((lengths == 1).sum()),
        "train_interactions": len(train.codes),
        "train_items": train.distinct(),
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
