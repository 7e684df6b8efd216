"""Items whose interactions are hidden from training: the split by items that measures cold starts.

The items have two parts. ``test`` items are the targets that an evaluation reports. ``valid`` items are new in the same
way, and choices are made by them: weights of a blend, settings of ``content-knn``. Without them nothing could be
learned about recommending an item that has no interactions. No method trains on an interaction with either.

A checkpoint that was trained on such a split holds it in a file of its own (`FILE`). Later stages read that file, so
there is one truth about which items are held out.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.columns import refuse_unknown_items
from gti_cli.tables.histories import Interactions
from gti_cli.tables.sources.location import TableLocation, in_terms_of_the_file

if TYPE_CHECKING:
    from gti_cli.workspace import StageRun

FILE = "gti_held_out_items.parquet"  # in the folder of a checkpoint or a blend
DETAIL = "held_out_items"  # what manifests call `HeldOutItems.recorded`
TEST, VALID = "test", "valid"
SEED = 0  # of the draw. It is no option: training runs with several seeds are to have one split.
VALID_PER_TEST = 0.5  # Items for validation beside each item for the test.
LARGEST_SHARE = 0.5


@dataclass(frozen=True)
class HeldOutItems:
    """The items of a split.

    Attributes:
        test: Ids of the items whose interactions are reported.
        valid: Ids of the items by which choices are made.
    """

    test: frozenset[str]
    valid: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        """All items that nobody trains on."""
        return self.test | self.valid

    def recorded(self) -> dict[str, Any]:
        """What manifests say of the split: two splits are the same where this is equal."""
        content = json.dumps([sorted(self.test), sorted(self.valid)])
        digest = hashlib.sha256(content.encode()).hexdigest()
        return {"test_items": len(self.test), "valid_items": len(self.valid), "sha256": digest}

    def write(self, folder: Path) -> None:
        """Write the split into the folder of a checkpoint or a blend."""
        rows = sorted([(item, TEST) for item in self.test] + [(item, VALID) for item in self.valid])
        tables.write(folder / FILE, {"item_id": [item for item, _ in rows], "split": [part for _, part in rows]})


def parse_share(given: str) -> float | None:
    """The share that ``--hold-out-items`` gives; None where it names a table.

    Raises:
        InputError: When the share is out of range.
    """
    try:
        share = float(given)
    except ValueError:
        return None
    if not (math.isfinite(share) and 0 < share <= LARGEST_SHARE):
        raise InputError(
            f"--hold-out-items {given} is no share of the items from above 0 to {LARGEST_SHARE}",
            remedy="write for example 0.1, or name a table with the column item_id",
        )
    return share


def choose_held_out(
    given: float | TableLocation, interactions: Interactions, catalogue: Collection[str]
) -> HeldOutItems:
    """Draw the held-out items, or read them from a table.

    The draw orders items by a hash of their ids. So it depends neither on the order of the rows nor on a seed of the
    training, and another table of the same shop holds out mostly the same items.

    Args:
        given: Share of the items with interactions that are drawn for the test; `VALID_PER_TEST` times as many are
            drawn for validation. Or a table, see `read_held_out_table`.
        interactions: The table of interactions.
        catalogue: The ids of all items that have a semantic ID.

    Raises:
        InputError: When nothing is drawn, or the table cannot be used.
    """
    if isinstance(given, TableLocation):
        return read_held_out_table(given, catalogue)
    items = interactions.lists.occurring()
    order = sorted(items, key=lambda item: hashlib.sha256(f"{SEED}:{item}".encode()).digest())
    test, valid = round(given * len(items)), round(given * VALID_PER_TEST * len(items))
    if not test or not valid:
        raise InputError(
            f"--hold-out-items {given} holds out {test} and {valid} of {len(items):,} items for test and validation",
            where=interactions.path,
            remedy="use a larger share",
        )
    return HeldOutItems(frozenset(order[:test]), frozenset(order[test : test + valid]))


@in_terms_of_the_file
def read_held_out_table(path: Path | str, catalogue: Collection[str]) -> HeldOutItems:
    """Read a table with the column ``item_id`` and optionally ``split`` (``test``, which is the default, or ``valid``).

    Args:
        path: The table.
        catalogue: The ids of all items that have a semantic ID.

    Raises:
        InputError: When a column or a value is missing or unknown, an item stands in both parts, or none is for the
            test.
    """
    table = tables.read(path, ["item_id"])
    items = tables.ids(table, "item_id", path)
    refuse_unknown_items(items, catalogue, path, "items")
    labels = tables.strings(table, "split", path) if "split" in table.column_names else [TEST] * len(items)
    part_of: dict[str, str] = {}
    for row, (item, label) in enumerate(zip(items, labels, strict=True), start=1):
        where = f"{path}, column 'split', row {row:,}"
        if label not in (TEST, VALID):
            raise InputError(
                f"{label!r} is no part of held-out items", where=where, remedy="write test or valid, or drop the column"
            )
        if part_of.setdefault(item, label) != label:
            raise InputError(f"item {item!r} stands in both parts", where=where, remedy="name each item once")
    held = HeldOutItems(
        frozenset(item for item, part in part_of.items() if part == TEST),
        frozenset(item for item, part in part_of.items() if part == VALID),
    )
    if not held.test:
        raise InputError("no item is held out for the test", where=str(path), remedy="mark some rows test")
    return held


def read_held_out(folder: Path | str) -> HeldOutItems | None:
    """Read the split of a checkpoint or a blend; None where it was made without one.

    Raises:
        InputError: When the file cannot be read.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    table = tables.read(path, ["item_id", "split"])
    rows = list(zip(tables.ids(table, "item_id", path), tables.strings(table, "split", path), strict=True))
    return HeldOutItems(
        frozenset(item for item, part in rows if part == TEST), frozenset(item for item, part in rows if part == VALID)
    )


def hand_on(source: Path | str, folder: Path, run: StageRun) -> None:
    """Copy the split of a checkpoint into one that is made from it and has seen no more interactions.

    Args:
        source: Folder of the checkpoint that was started from.
        folder: The new checkpoint.
        run: The run that makes it; its details say whether there is a split.
    """
    held = read_held_out(source)
    if held is None:
        run.details.pop(DETAIL, None)
        return
    held.write(folder)
    run.details[DETAIL] = held.recorded()
