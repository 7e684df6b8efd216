"""Users' histories in time order, and which of their interactions train, validate and test.

Leave-one-out, as in the paper: a user's last interaction is the test target, the one before it the validation target,
the rest trains. A ``split`` column in the table replaces that rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gti_cli import console, tables
from gti_cli.errors import InputError, examples

SPLITS = ("train", "valid", "test")
MIN_LENGTH = 3  # one to train on, one to validate, one to test


@dataclass(frozen=True)
class Interactions:
    """All interactions, by user.

    Attributes:
        items: user -> item ids in time order (equal times: in file order); users in order of first appearance.
        split: user -> ``train``, ``valid`` or ``test`` for each of these items; None: the table has no such column.
        path: the table, for error lines.
        texts: further text columns, by name: user -> one text for each of these items, "" where there is none.
    """

    items: dict[str, list[str]]
    split: dict[str, list[str]] | None
    path: str
    texts: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def labels(self, user: str) -> list[str]:
        """``train``, ``valid`` or ``test`` for each of the user's items; see `split`."""
        return self.split[user] if self.split is not None else _leave_one_out(len(self.items[user]))


@dataclass(frozen=True)
class History:
    """What a recommender sees of a user, and what it should then recommend.

    Attributes:
        user_id: whose. items: everything before the target, in time order, at least one item. target: the next item.
    """

    user_id: str
    items: list[str]
    target: str


@dataclass(frozen=True)
class Splits:
    """Interactions divided into training, validation and test.

    Attributes:
        train: user -> items in time order, training part only; users with none are left out.
        valid, test: one entry for each target. ``items`` of a test entry includes the validation item before it.
        counts: users, interactions, items, users_too_short, users_with_one_interaction, train_interactions,
            train_items (different ones), valid_targets, test_targets, targets_without_history (left out).
    """

    train: dict[str, list[str]]
    valid: list[History]
    test: list[History]
    counts: dict[str, int]


def read_interactions(path: Path | str, known: Collection[str], texts: Sequence[str] = ()) -> Interactions:
    """Read a table of `user_id`, `item_id`, `timestamp` and optionally `split`.

    Args:
        path: Parquet, CSV or JSONL; rows in any order. known: the catalogue's item ids.
        texts: text columns to read as well, as far as there.

    Raises:
        InputError: a missing column or value, items that are not ``known``, a split that is none of `SPLITS`.
    """
    import numpy as np

    table = tables.read(path, ["user_id", "item_id", "timestamp"])
    users = tables.ids(table, "user_id", path)
    items = tables.ids(table, "item_id", path)
    _check_known(items, known, path)
    labels = _labels(tables.strings(table, "split", path), path) if "split" in table.column_names else None
    times = tables.integers(table, "timestamp", path)

    number = {user: n for n, user in enumerate(dict.fromkeys(users))}
    owners = np.fromiter((number[user] for user in users), dtype=np.int64, count=len(users))
    order = np.lexsort((times, owners)).tolist()  # stable: equal times keep the file's order
    by_user: dict[str, list[str]] = {user: [] for user in number}
    by_label: dict[str, list[str]] = {user: [] for user in number}
    columns = {name: tables.strings(table, name, path) for name in texts if name in table.column_names}
    by_column: dict[str, dict[str, list[str]]] = {name: {user: [] for user in number} for name in columns}
    for row in order:
        by_user[users[row]].append(items[row])
        if labels is not None:
            by_label[users[row]].append(labels[row])
        for name, column in columns.items():
            by_column[name][users[row]].append(column[row])
    return Interactions(by_user, by_label if labels is not None else None, str(path), by_column)


def _check_known(items: list[str], known: Collection[str], path: Path | str) -> None:
    catalogue = known if isinstance(known, set | frozenset | dict) else set(known)
    unknown = list(dict.fromkeys(item for item in items if item not in catalogue))
    if unknown:
        row = items.index(unknown[0]) + 1
        raise InputError(
            f"items without a semantic ID: {examples(unknown)}",
            where=f"{path}, column 'item_id', row {row:,}",
            remedy="drop these interactions, or run 'gti build-ids' on a catalogue that has the items",
        )


def _labels(labels: list[str], path: Path | str) -> list[str]:
    for row, label in enumerate(labels, start=1):
        if label not in SPLITS:
            raise InputError(
                f"{label!r} is no split",
                where=f"{path}, column 'split', row {row:,}",
                remedy="write train, valid or test in every row, or drop the column for leave-one-out",
            )
    return labels


def split(interactions: Interactions) -> Splits:
    """Divide the interactions: by their ``split`` column where there is one, else leave-one-out by time.

    Leave-one-out: users with fewer than 3 interactions keep all of them for training and have no target.
    With a ``split`` column, every row marked valid or test is a target, behind all of its user's earlier interactions;
    a target with nothing before it cannot be asked for and is left out. What is left out is counted and said.

    Raises:
        InputError: no target is left to evaluate.
    """
    train: dict[str, list[str]] = {}
    targets: dict[str, list[History]] = {"valid": [], "test": []}
    without_history = 0
    for user, items in interactions.items.items():
        labels = interactions.labels(user)
        kept = [item for item, label in zip(items, labels, strict=True) if label == "train"]
        if kept:
            train[user] = kept
        for place, label in enumerate(labels):
            if label == "train":
                continue
            if place == 0:
                without_history += 1
            else:
                targets[label].append(History(user, items[:place], items[place]))
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
    _say(counts, interactions)
    return Splits(train, targets["valid"], targets["test"], counts)


def _leave_one_out(length: int) -> list[str]:
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


def _say(counts: dict[str, int], interactions: Interactions) -> None:
    if interactions.split is None and counts["users_too_short"]:
        console.note(
            f"{counts['users_too_short']:,} of {counts['users']:,} users have fewer than {MIN_LENGTH} interactions "
            f"({counts['users_with_one_interaction']:,} have one): for training only, not evaluated"
        )
    if counts["targets_without_history"]:
        console.warn(
            f"{counts['targets_without_history']:,} validation or test rows have no earlier interaction of their user "
            "and are left out"
        )
