"""Which names and weights of tasks are accepted, and which do not fit the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.recommendation.task_data import parse_tasks, read_task_data
from gti_cli.tables import locate_all
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.workspace import Workspace
from tests.support.table_sources import rename


@pytest.mark.parametrize(
    ("given", "interactions", "queries", "expected"),
    [
        (None, True, False, {"next-item": None}),
        (None, True, True, {"next-item": None, "search": None}),
        (None, False, True, {"search": None}),
        (("lc-rec",), False, False, {"lc-rec": None}),
        (("lc-rec", "next-item"), True, False, {"lc-rec": None, "next-item": None}),
        (("next-item:1", "search:0.5", "lc-rec"), True, True, {"next-item": 1.0, "search": 0.5, "lc-rec": 1.0}),
        (("search : 2",), False, True, {"search": 2.0}),
    ],
)
def test_tasks_and_weights_are_parsed(given: Any, interactions: bool, queries: bool, expected: Any) -> None:
    found = parse_tasks(given, interactions=interactions, queries=queries)
    assert found == expected and list(found) == list(expected)


@pytest.mark.parametrize(
    ("given", "interactions", "queries", "message"),
    [
        (None, False, False, "nothing to train on"),
        ((), True, False, "nothing to train on"),
        (("chat",), True, False, "'chat' is not known. Use next-item, search, lc-rec"),
        (("next-item", "next-item:2"), True, False, "names next-item twice"),
        (("next-item:0",), True, False, "'next-item:0' has no weight above 0"),
        (("next-item:nan",), True, False, "no weight above 0"),
        (("next-item:many",), True, False, "no weight above 0"),
        (("next-item",), False, True, "needs histories"),
        (("search",), True, False, "needs queries"),
        (("next-item",), True, True, "no task uses the --queries"),
        (("search",), True, True, "no task uses the --interactions"),
    ],
)
def test_tasks_refused(given: Any, interactions: bool, queries: bool, message: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_tasks(given, interactions=interactions, queries=queries)
    assert message in str(raised.value)


def test_reads_what_the_tasks_need(make_world: Any) -> None:
    world = make_world()
    space = Workspace(world.workspace)
    plain = read_task_data(space, world.interactions, None, None)
    assert plain.titles == [] and plain.queries is None and plain.counts["users"] == len(world.histories)
    both = read_task_data(space, world.interactions, world.queries, ("next-item", "search:2", "lc-rec:0.5"))
    assert both.titles[3] == "dress number 3" and both.descriptions[3] == "silk, size 3"
    assert both.weights == {"next-item": 1.0, "search": 2.0, "lc-rec": 0.5} and plain.weights is None
    assert both.counts["queries"] == 12 and both.counts["users"] == len(world.histories)


def test_columns_are_renamed_in_the_table_that_has_them(make_world: Any, tmp_path: Path) -> None:
    world = make_world()
    interactions = rename(pq.read_table(world.interactions), {"user_id": "who", "timestamp": "when"})
    half = interactions.num_rows // 2
    for name, part in (("1", interactions.slice(0, half)), ("2", interactions.slice(half))):
        csv.write_csv(part, tmp_path / f"{name}.csv")
    queries = rename(pq.read_table(world.queries), {"query": "words"})
    pq.write_table(queries, tmp_path / "q.parquet")
    names = "user_id=who,timestamp=when,query=words"
    places = locate_all([f"{tmp_path}/*.csv", tmp_path / "q.parquet"], names)
    space = Workspace(world.workspace)
    renamed = read_task_data(space, *places, None)
    plain = read_task_data(space, world.interactions, world.queries, None)
    assert (renamed.interactions and renamed.interactions.items) == (plain.interactions and plain.interactions.items)
    assert (renamed.queries and renamed.queries.train) == (plain.queries and plain.queries.train)
    place = locate_all([f"{tmp_path}/*.csv"], "item_id=who,timestamp=when,user_id=item_id")[0]
    with pytest.raises(InputError, match=rf"^{tmp_path}/1.csv, column 'who', row 1: items without a semantic ID"):
        read_task_data(space, place, None, None)


def test_interactions_are_read_as_the_options_say(make_world: Any, tmp_path: Path) -> None:
    world = make_world()
    table = tables.read(world.interactions)
    doubled = tmp_path / "doubled.parquet"
    tables.write(doubled, pa.concat_tables([table, table]))
    once = read_task_data(Workspace(world.workspace), world.interactions, None, None)
    drop = InteractionOptions(duplicates="drop")
    dropped = read_task_data(Workspace(world.workspace), doubled, None, None, drop)
    assert dropped.interactions is not None and once.interactions is not None
    assert dropped.interactions.items == once.interactions.items
    assert dropped.counts == {**once.counts, "repeated_rows": table.num_rows}
