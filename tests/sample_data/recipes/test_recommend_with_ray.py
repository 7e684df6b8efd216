"""The recipe for Ray: its lists are those of `gti recommend --input`. On Ray itself where it is installed."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gti_cli.app import run
from tests.support.evaluation import World, make_world

SCRIPT = Path(__file__).parents[3] / "sample_data" / "recipes" / "recommend_with_ray.py"
OPTIONS = {"k": 3, "search": "exact", "filter_seen": True}


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("ray"))


@pytest.fixture(scope="module")
def of_one_process(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    lists = tmp_path_factory.mktemp("one") / "lists.parquet"
    command = ["recommend", "-w", str(world.workspace), "--input", str(world.interactions), "-o", str(lists)]
    assert run([*command, "-k", "3", "--search", "exact", "--filter-seen", "--device", "cpu", "-q"]) == 0
    return _by_user(pq.read_table(lists))


def _by_user(lists: pa.Table) -> dict[str, list[Any]]:
    """Rank, item, title and whether it is proven, by user; and the scores apart, since batches round them otherwise."""
    found: dict[str, list[Any]] = {}
    for row in lists.to_pylist():
        score = pytest.approx(row.pop("score"), abs=1e-4)
        found.setdefault(row.pop("user_id"), []).append((row, score))
    return found


def test_histories_and_lists_without_ray(
    recipe: dict[str, Any], world: World, of_one_process: dict[str, list[Any]], tmp_path: Path
) -> None:
    recipe["write_histories"](world.interactions, tmp_path / "histories", 3)
    shards = sorted((tmp_path / "histories").iterdir())
    assert [path.name for path in shards] == [f"users-{number:05d}.parquet" for number in range(3)]
    tables = [pq.read_table(path) for path in shards]
    written = {row["user_id"]: row["history"] for table in tables for row in table.to_pylist()}
    assert written == {user: [f"i{row}" for row in rows] for user, rows in world.histories.items()}
    answer = recipe["Lists"](str(world.workspace), "finetuned", OPTIONS, "cpu")
    assert _by_user(pa.concat_tables([answer(table) for table in tables])) == of_one_process


def test_two_workers_on_ray(
    recipe: dict[str, Any],
    world: World,
    of_one_process: dict[str, list[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed (pip install ray)")
    pytest.importorskip("ray.data")
    recipe["write_histories"](world.interactions, tmp_path / "histories", 4)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SCRIPT.parents[2]), os.environ.get("PYTHONPATH", "")]))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        where = {"workspace": world.workspace, "checkpoint": "finetuned", "workers": 2, "options": OPTIONS}
        where["users_at_once"] = 5
        recipe["recommend"](tmp_path / "histories", tmp_path / "lists", **where)
        with pytest.raises(SystemExit, match="exists: remove it"):
            recipe["recommend"](tmp_path / "histories", tmp_path / "lists", **where)
    finally:
        ray.shutdown()
    assert len(list((tmp_path / "lists").glob("*.parquet"))) > 1  # both workers had something to do
    assert _by_user(pq.read_table(tmp_path / "lists")) == of_one_process
