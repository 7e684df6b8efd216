"""The section on single users: their histories, what was recommended, and whether the held-out item is among it.

Everything comes from files of an evaluation: the lists that it stored, the targets, and the table of interactions,
whose place and digest stand in its manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gti_cli import console, tables
from gti_cli.errors import InputError
from gti_cli.geometry.sampling import evenly
from gti_cli.pages.catalogue import PageCatalogue
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.tables.histories import read_interactions
from gti_cli.workspace import Workspace
from gti_cli.workspace.inputs import digest_again
from gti_cli.workspace.manifest import Manifest

HISTORY_SHOWN, LIST_SHOWN = 8, 10  # the last items of a history and the first ones of a list that are shown
LISTS, TARGETS = "recommendations.parquet", "per_user.parquet"


@dataclass(frozen=True)
class ShownItem:
    """An item as the page shows it.

    Attributes:
        title: What a person calls it.
        rank: Its place in the list; 0 for an item of a history.
        is_target: Whether it is the held-out item.
        is_repeated: Whether the history has it already.
    """

    title: str
    rank: int = 0
    is_target: bool = False
    is_repeated: bool = False


@dataclass(frozen=True)
class ShownHistory:
    """One user of an evaluation.

    Attributes:
        user: The user's id.
        length: The number of items before the target.
        items: The last of them, in time order; None where the table of interactions cannot be read.
        target: The held-out item.
        rank: Its place in the list; None where the list does not have it.
        recommended: The first items of the list, and the target behind them where it stands further down.
    """

    user: str
    length: int
    items: Sequence[ShownItem] | None
    target: ShownItem
    rank: int | None
    recommended: Sequence[ShownItem]


@dataclass(frozen=True)
class ShownHistories:
    """The users of the section.

    Attributes:
        evaluation: Name of the evaluation.
        users: How many targets it has.
        list_length: How many items were recommended for each.
        shown: Some of them, evenly spread over the table.
        problem: Why histories are missing; empty where they are there.
    """

    evaluation: str
    users: int
    list_length: int
    shown: Sequence[ShownHistory]
    problem: str

    @property
    def hits(self) -> int:
        """How many of those shown have their target in the list."""
        return sum(history.rank is not None for history in self.shown)


def choose_evaluation(space: Workspace, manifests: Mapping[str, Manifest]) -> Manifest | None:
    """Return the evaluation whose lists are shown: of those on users, the one with the highest NDCG.

    None where no evaluation stored lists of users.
    """
    stored = [
        manifest
        for manifest in manifests.values()
        if manifest.command == "evaluate" and "metrics" in manifest.metrics
        if all((space.path(manifest.name) / name).is_file() for name in (LISTS, TARGETS))
    ]
    return max(stored, key=lambda manifest: (_ndcg(manifest), manifest.name), default=None)


def _ndcg(manifest: Manifest) -> float:
    metrics = manifest.metrics["metrics"]
    return float(metrics.get("ndcg@10", max((v for k, v in metrics.items() if k.startswith("ndcg@")), default=0.0)))


def read_histories(space: Workspace, manifest: Manifest, catalogue: PageCatalogue, most: int) -> ShownHistories:
    """Read some users of an evaluation.

    Args:
        space: The workspace.
        manifest: Manifest of the evaluation.
        catalogue: The items.
        most: How many users to show.

    Raises:
        InputError: When a file of the evaluation is damaged.
    """
    folder = space.path(manifest.name)
    targets = tables.read(folder / TARGETS, ["user_id", "target", "history"])
    rows = evenly(len(targets), most).tolist() if most and len(targets) else []
    chosen = targets.take(rows)
    users = tables.ids(targets, "user_id", folder / TARGETS)
    lists = _read_lists(folder / LISTS, users, set(rows))
    histories, problem = _read_items(manifest, catalogue)
    shown = []
    for row, target, length in zip(
        rows, tables.ids(chosen, "target", TARGETS), chosen.column("history").to_pylist(), strict=True
    ):
        before = histories.get(users[row]) if histories is not None else None
        shown.append(_show(users[row], target, length, before, lists.get(row, []), catalogue.titles))
    longest = max(manifest.options.get("k", [0]))
    return ShownHistories(manifest.name.removeprefix("evaluation/"), len(targets), longest, shown, problem)


def _show(
    user: str, target: str, length: int, before: Sequence[str] | None, items: Sequence[str], titles: Mapping[str, str]
) -> ShownHistory:
    """Describe one user; ``before`` is the whole history in time order, ``items`` the list."""
    past = list(before[:length]) if before is not None else None
    ranked = [
        ShownItem(titles.get(item, item), rank, item == target, past is not None and item in past)
        for rank, item in enumerate(items, start=1)
    ]
    rank = next((item.rank for item in ranked if item.is_target), None)
    return ShownHistory(
        user,
        length,
        None if past is None else [ShownItem(titles.get(item, item)) for item in past[-HISTORY_SHOWN:]],
        ShownItem(titles.get(target, target), is_target=True, is_repeated=past is not None and target in past),
        rank,
        ranked[:LIST_SHOWN] + [item for item in ranked[LIST_SHOWN:] if item.is_target],
    )


def _read_lists(path: Path, users: Sequence[str], wanted: set[int]) -> dict[int, list[str]]:
    """Return the recommended items of some rows of the table of targets.

    The lists stand in the order of that table, one behind the other; a target without any recommendation has no list.

    Args:
        path: The table of lists.
        users: The user of each target.
        wanted: Row numbers of targets.
    """
    table = tables.read(path, ["user_id", "rank", "item_id"])
    starts = np.flatnonzero(tables.integers(table, "rank", path) == 1)
    owners = tables.ids(table.select(["user_id"]).take(starts), "user_id", path)
    ends = [*starts[1:].tolist(), len(table)]
    lists: dict[int, list[str]] = {}
    number = 0
    for row, user in enumerate(users):
        if number < len(owners) and owners[number] == user:
            if row in wanted:
                start = int(starts[number])
                lists[row] = tables.ids(table.slice(start, ends[number] - start), "item_id", path)
            number += 1
    return lists


def _read_items(manifest: Manifest, catalogue: PageCatalogue) -> tuple[Mapping[str, list[str]] | None, str]:
    """Return every user's items in time order; where the table is not what it was, None and the reason."""
    table: Mapping[str, Any] | None = manifest.inputs.get("interactions")
    if table is None:
        return None, "the evaluation names no table of interactions"
    now = digest_again(table)
    if now is None:
        return None, f"the table of interactions is not there any more ({table['path']})"
    if now != table["sha256"]:
        return None, f"the table of interactions has changed since the evaluation ({table['path']})"
    columns = ",".join(f"{ours}={theirs}" for ours, theirs in table.get("columns", {}).items()) or None
    options = InteractionOptions(duplicates=str(manifest.options.get("duplicates", "keep")))
    try:
        with console.silence():  # the stages that used the table said what there is to say about it
            place = tables.locate(table["path"], columns)
            return read_interactions(place, set(catalogue.ids.item_ids), options=options).items, ""
    except InputError as error:
        return None, f"the table of interactions cannot be read: {error}"
