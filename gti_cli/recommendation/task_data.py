"""The tables that fine-tuning's tasks are made from, read and checked: interactions, queries, the items' texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables import SemanticIDs
from gti_cli.tables.cold_start.cold_splits import split_by_items, without_items, without_pairs
from gti_cli.tables.cold_start.held_out_items import HeldOutItems, choose_held_out
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.tables.histories import Interactions, Splits, read_interactions, split
from gti_cli.tables.queries import Queries, read_queries

if TYPE_CHECKING:
    from gti_cli.workspace import Workspace

NEXT_ITEM, SEARCH, LC_REC = "next-item", "search", "lc-rec"
TASKS = (NEXT_ITEM, SEARCH, LC_REC)
INTENT, PREFERENCE = "intent", "preference"  # optional text columns of the interactions, for LC-Rec's tasks


@dataclass(frozen=True)
class TaskData:
    """The tables that training examples are made from.

    Attributes:
        tasks: Weight of each task in a step. None: no weights were given, and the number of targets decides.
        catalogue: The semantic IDs of all items.
        interactions: The users' histories; None without such a table.
        splits: Training, validation and test items of each history; None without interactions.
        queries: Queries and their items; None without such a table.
        titles: Title of each row of the catalogue, "" where there is none. Empty where no task needs them.
        descriptions: Description of each row of the catalogue, in the same form.
        held_out: Items whose interactions and queries are not among these tables; None: there is no split by items.
        held_out_counts: What was taken out because of them.
    """

    tasks: dict[str, float | None]
    catalogue: SemanticIDs
    interactions: Interactions | None
    splits: Splits | None
    queries: Queries | None
    titles: list[str]
    descriptions: list[str]
    held_out: HeldOutItems | None = None
    held_out_counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def weights(self) -> dict[str, float] | None:
        """Weight of each task. None: the number of targets decides."""
        weights = {name: weight for name, weight in self.tasks.items() if weight is not None}
        return weights or None

    @property
    def counts(self) -> dict[str, int]:
        """Counts of the tables, for the manifest."""
        tables_counts = (self.splits.counts if self.splits else {}) | (self.queries.counts if self.queries else {})
        return {**tables_counts, **self.held_out_counts}


def read_task_data(
    space: Workspace,
    interactions: Path | str | None,
    queries: Path | str | None,
    tasks: Sequence[str] | None,
    reading: InteractionOptions = InteractionOptions(),
    hold_out: float | tables.TableLocation | None = None,
) -> TaskData:
    """Read the tables, and the texts of the items where a task needs them.

    Args:
        space: Workspace with semantic IDs.
        interactions: Table of interactions.
        queries: Table of queries.
        tasks: Names of tasks, see `parse_tasks`.
        reading: How the interactions are read.
        hold_out: Items to hold out, see `choose_held_out`. None: none. They are taken out of histories, of targets, and
            of the pairs of query and item; LC-Rec's tasks about an item's own text keep them.

    Raises:
        InputError: When a table cannot be used, or the tasks do not fit the tables.
    """
    chosen = parse_tasks(tasks, interactions=interactions is not None, queries=queries is not None)
    catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    row_of = catalogue.row_of()
    text_columns = (INTENT, PREFERENCE) if LC_REC in chosen else ()
    histories = read_interactions(interactions, row_of, text_columns, reading) if interactions is not None else None
    titles, descriptions = _item_texts(space, catalogue) if LC_REC in chosen else ([], [])
    judged = read_queries(queries, row_of) if queries is not None else None
    if hold_out is not None:
        assert histories is not None, "a split without interactions is refused before"
        held = choose_held_out(hold_out, histories, row_of)
        divided = split_by_items(histories, held)
        known_queries, pairs = without_pairs(judged, held.all) if judged is not None else (None, 0)
        counts = {**divided.counts, **({"held_out_search_pairs": pairs} if judged is not None else {})}
        known = without_items(histories, held.all)
        return TaskData(chosen, catalogue, known, divided.known, known_queries, titles, descriptions, held, counts)
    splits = split(histories) if histories is not None else None
    return TaskData(chosen, catalogue, histories, splits, judged, titles, descriptions)


def parse_tasks(given: Sequence[str] | None, *, interactions: bool, queries: bool) -> dict[str, float | None]:
    """Weight of each task from ``("next-item:1", "search:0.5")``; None for each where no weights are given.

    Args:
        given: Names of `TASKS`, each with or without a weight. Where some have a weight, those without have 1. None:
            next-item where there are interactions, search where there are queries.
        interactions: Whether there is a table of interactions.
        queries: Whether there is a table of queries.

    Raises:
        InputError: When a task is unknown or named twice, or its weight is not a number above 0.
        InputError: When a task lacks its table, or no task uses a table.
    """
    if given is None:
        given = [NEXT_ITEM] * interactions + [SEARCH] * queries
    if not given:
        raise InputError("there is nothing to train on", remedy="give --interactions or --queries")
    weights: dict[str, float | None] = {}
    for entry in given:
        name, colon, number = (part.strip() for part in entry.partition(":"))
        if name not in TASKS:
            raise InputError(f"--tasks {name!r} is not known", remedy=f"use {', '.join(TASKS)}")
        if name in weights:
            raise InputError(f"--tasks names {name} twice", remedy="name each task once")
        weights[name] = _parse_weight(entry, number) if colon else None
    if any(weight is not None for weight in weights.values()):
        weights = {name: 1.0 if weight is None else weight for name, weight in weights.items()}
    if NEXT_ITEM in weights and not interactions:
        raise InputError("--tasks next-item needs histories", remedy="give --interactions")
    if SEARCH in weights and not queries:
        raise InputError("--tasks search needs queries", remedy="give --queries")
    if queries and SEARCH not in weights:
        raise InputError("no task uses the --queries", remedy="add search to --tasks, or drop --queries")
    if interactions and not {NEXT_ITEM, LC_REC} & set(weights):
        raise InputError("no task uses the --interactions", remedy="add next-item to --tasks, or drop --interactions")
    return weights


def _parse_weight(entry: str, number: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise InputError(f"--tasks {entry!r} has no weight above 0", remedy="write for example next-item:1,search:0.5")
    return weight


def _item_texts(space: Workspace, catalogue: SemanticIDs) -> tuple[list[str], list[str]]:
    """Titles and descriptions as `gti build-ids` stored them; without either column, the item's text is its title."""
    path = space.path("items.parquet")
    table = tables.read(path, ["item_id"])
    row_of = {item: row for row, item in enumerate(tables.ids(table, "item_id", path))}
    missing = [item for item in catalogue.item_ids if item not in row_of]
    if missing:
        raise InputError(
            f"item {missing[0]!r} has a semantic ID and no text", where=str(path), remedy="run 'gti build-ids' again"
        )

    def column(name: str) -> list[str]:
        """A column in the order of the catalogue; "" for each item where the table lacks it."""
        if name not in table.column_names:
            return [""] * len(catalogue.item_ids)
        values = tables.strings(table, name, path)
        return [values[row_of[item]] for item in catalogue.item_ids]

    has_description = "description" in table.column_names
    titles = column("title") if "title" in table.column_names or has_description else column("text")
    return titles, column("description")
