"""The next-item task: from users' histories to windows of catalogue rows, training and validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gti_cli.errors import InputError
from gti_cli.histories.splits import History, Splits
from gti_cli.prompts.next_item import cap
from gti_cli.training.packing import Window, windows


@dataclass(frozen=True)
class NextItem:
    """Windows to train on and to validate with.

    Attributes:
        train, valid: windows; each validation window has one target.
        counts: train_targets, train_users, cut_targets (training targets whose history is longer than what they are
            shown), valid_targets_used.
    """

    train: list[Window]
    valid: list[Window]
    counts: dict[str, int]


def next_item(
    splits: Splits, row_of: Mapping[str, int], *, history: int, targets: str, valid_sample: int, seed: int
) -> NextItem:
    """Make the task.

    Args:
        splits: the users' interactions. row_of: item id -> row of the catalogue.
        history: most items before a target. targets: ``all`` prefixes of a history, or the ``last`` item only.
        valid_sample: most validation targets to use, drawn with ``seed`` where there are more.

    Raises:
        InputError: no user has two training interactions, so there is nothing to learn from.
    """
    train: list[Window] = []
    cut = users = 0
    for items in splits.train.values():
        found = windows([row_of[item] for item in items], history, last_only=targets == "last")
        train += found
        users += bool(found)
        # Shown in full are the first places of a user's first window; every later window has lost its beginning.
        shown = sum(window.targets for window in found[:1]) if len(items) <= history + 1 or targets == "all" else 0
        cut += sum(window.targets for window in found) - shown
    if not train:
        raise InputError(
            "no user has two interactions to train on: there is no next item to learn",
            remedy="give histories of at least 4 interactions (two to train on, one to validate, one to test)",
        )
    valid = [_valid_window(entry, row_of, history) for entry in _sample(splits.valid, valid_sample, seed)]
    counts = {
        "train_targets": sum(window.targets for window in train),
        "train_users": users,
        "cut_targets": cut,
        "valid_targets_used": len(valid),
    }
    return NextItem(train, valid, counts)


def _valid_window(entry: History, row_of: Mapping[str, int], history: int) -> Window:
    shown, _ = cap(entry.items, history)
    return Window((*(row_of[item] for item in shown), row_of[entry.target]), len(shown))


def _sample(entries: list[History], most: int, seed: int) -> list[History]:
    import numpy as np

    if len(entries) <= most:
        return entries
    drawn = np.random.default_rng(seed).choice(len(entries), most, replace=False)
    return [entries[n] for n in sorted(drawn.tolist())]
