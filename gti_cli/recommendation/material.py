"""What fine-tuning may be made from: interactions, queries, the catalogue's texts; read and checked for its tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables import SemanticIDs
from gti_cli.tables.histories import Interactions, Splits, read_interactions, split
from gti_cli.tables.queries import Queries, read_queries

if TYPE_CHECKING:
    from gti_cli.workspace import Workspace

NEXT_ITEM, SEARCH, LC_REC = "next-item", "search", "lc-rec"
TASKS = (NEXT_ITEM, SEARCH, LC_REC)
INTENT, PREFERENCE = "intent", "preference"  # optional text columns of the interactions, for LC-Rec's tasks


@dataclass(frozen=True)
class Material:
    """Everything that examples are made from.

    Attributes:
        tasks: name -> weight in a step; None: no weights were given, so the number of targets decides.
        catalogue: the semantic IDs. interactions, splits, queries: where a table of them was given.
        titles, descriptions: of each row of the catalogue, "" where there is none; [] where no task needs them.
    """

    tasks: dict[str, float | None]
    catalogue: SemanticIDs
    interactions: Interactions | None
    splits: Splits | None
    queries: Queries | None
    titles: list[str]
    descriptions: list[str]

    @property
    def weights(self) -> dict[str, float] | None:
        """Weight of each task; None: by the number of targets."""
        found = {name: weight for name, weight in self.tasks.items() if weight is not None}
        return found or None

    @property
    def counts(self) -> dict[str, int]:
        """Of the tables."""
        return (self.splits.counts if self.splits else {}) | (self.queries.counts if self.queries else {})


def gather(
    space: Workspace, interactions: Path | str | None, queries: Path | str | None, tasks: Sequence[str] | None
) -> Material:
    """Read what the tasks need.

    Args:
        space: with semantic IDs. interactions, queries: tables, or None. tasks: see `parse_tasks`.

    Raises:
        InputError: a table that cannot be used; tasks that do not fit what is given.
    """
    chosen = parse_tasks(tasks, interactions=interactions is not None, queries=queries is not None)
    catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    row_of = catalogue.row_of()
    texts = (INTENT, PREFERENCE) if LC_REC in chosen else ()
    read = read_interactions(interactions, row_of, texts) if interactions is not None else None
    titles, descriptions = _texts(space, catalogue) if LC_REC in chosen else ([], [])
    return Material(
        chosen,
        catalogue,
        read,
        split(read) if read is not None else None,
        read_queries(queries, row_of) if queries is not None else None,
        titles,
        descriptions,
    )


def parse_tasks(given: Sequence[str] | None, *, interactions: bool, queries: bool) -> dict[str, float | None]:
    """``("next-item:1", "search:0.5")`` -> weights by task.

    Args:
        given: names of `TASKS`, each with or without a weight; where some have one, those without have 1. None: next
            item where there are interactions, search where there are queries.
        interactions, queries: whether there is such a table.

    Raises:
        InputError: an unknown task, one named twice, a weight that is none, a task without its table, a table that no
            task uses.
    """
    if given is None:
        given = [NEXT_ITEM] * interactions + [SEARCH] * queries
    if not given:
        raise InputError("there is nothing to train on", remedy="give --interactions or --queries")
    found: dict[str, float | None] = {}
    for entry in given:
        name, colon, number = (part.strip() for part in entry.partition(":"))
        if name not in TASKS:
            raise InputError(f"--tasks {name!r} is not known", remedy=f"use {', '.join(TASKS)}")
        if name in found:
            raise InputError(f"--tasks names {name} twice", remedy="name each task once")
        found[name] = _weight(entry, number) if colon else None
    if any(weight is not None for weight in found.values()):
        found = {name: 1.0 if weight is None else weight for name, weight in found.items()}
    if NEXT_ITEM in found and not interactions:
        raise InputError("--tasks next-item needs histories", remedy="give --interactions")
    if SEARCH in found and not queries:
        raise InputError("--tasks search needs queries", remedy="give --queries")
    if queries and SEARCH not in found:
        raise InputError("no task uses the --queries", remedy="add search to --tasks, or drop --queries")
    if interactions and not {NEXT_ITEM, LC_REC} & set(found):
        raise InputError("no task uses the --interactions", remedy="add next-item to --tasks, or drop --interactions")
    return found


def _weight(entry: str, number: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise InputError(f"--tasks {entry!r} has no weight above 0", remedy="write for example next-item:1,search:0.5")
    return weight


def _texts(space: Workspace, catalogue: SemanticIDs) -> tuple[list[str], list[str]]:
    """Titles and descriptions as `gti build-ids` kept them; without either column, the text it read is the title."""
    path = space.path("items.parquet")
    table = tables.read(path, ["item_id"])
    row_of = {item: row for row, item in enumerate(tables.ids(table, "item_id", path))}
    missing = [item for item in catalogue.item_ids if item not in row_of]
    if missing:
        raise InputError(
            f"item {missing[0]!r} has a semantic ID and no text", where=str(path), remedy="run 'gti build-ids' again"
        )

    def column(name: str) -> list[str]:
        """A column in the catalogue's order, "" where the table lacks it."""
        if name not in table.column_names:
            return [""] * len(catalogue.item_ids)
        values = tables.strings(table, name, path)
        return [values[row_of[item]] for item in catalogue.item_ids]

    has_description = "description" in table.column_names
    titles = column("title") if "title" in table.column_names or has_description else column("text")
    return titles, column("description")
