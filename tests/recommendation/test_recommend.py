"""Recommendations against scoring every item with forward passes of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from gti_cli import tables
from gti_cli.app import run
from gti_cli.decoding import search_parts
from gti_cli.recommendation import requests
from gti_cli.recommendation.recommend import recommend, recommend_in_pieces
from gti_cli.recommender import settings
from gti_cli.semantic_ids.build import build_ids
from gti_cli.vocabulary.extend import extend
from gti_cli.workspace import Workspace
from tests.support.evaluation import ITEMS, World, add_checkpoint, item_scores, make_world, query_scores
from tests.support.semantic_ids import make_items, new_items


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("recommend"))


def best(values: np.ndarray, rows: list[int], k: int) -> list[str]:
    return [f"i{row}" for row in sorted(rows, key=lambda row: -round(float(values[row]), 4))[:k]]


def listed(path: Path, rows: list[int]) -> Path:
    tables.write(path, {"item_id": [f"i{row}" for row in rows]})
    return path


@pytest.mark.parametrize("filter_seen", [False, True])
def test_equal_to_scoring_every_item(world: World, tmp_path: Path, filter_seen: bool) -> None:
    outside = [0, 3, 11]
    for user, values in item_scores(world).items():
        items = world.histories[user][:-1]
        found = recommend(
            world.workspace,
            histories={user: [f"i{row}" for row in items]},
            k=8,
            beams=40,
            exclude=listed(tmp_path / "out.parquet", outside),
            filter_seen=filter_seen,
            dtype="float32",
        )
        allowed = [row for row in range(ITEMS) if row not in outside and not (filter_seen and row in items)]
        assert [line.item_id for line in found] == best(values, allowed, 8)
        assert [line.rank for line in found] == list(range(1, 9))
        rows = [int(line.item_id[1:]) for line in found]
        assert [line.title for line in found] == [f"Dress number {row}" for row in rows]
        np.testing.assert_allclose([line.score for line in found], values[rows], atol=1e-4)


def test_pieces_are_the_lists_of_all_users_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"table": world.interactions, "k": 4, "max_history": 3, "filter_seen": True}
    for search in ({"beams": 5}, {"search": "exact"}):
        at_once = recommend(world.workspace, **options, **search)
        said_at_once = capsys.readouterr().err
        with monkeypatch.context() as patched:
            patched.setattr(requests, "PIECE", 5)
            pieces = list(recommend_in_pieces(world.workspace, **options, **search))
        users = [list(dict.fromkeys(line.user_id for line in piece)) for piece in pieces]
        assert [len(piece) for piece in users] == [5, 5, 5, 2]
        found = [line for piece in pieces for line in piece]
        assert [(line.user_id, line.item_id, line.proven) for line in found] == [
            (line.user_id, line.item_id, line.proven) for line in at_once
        ]
        np.testing.assert_allclose([line.score for line in found], [line.score for line in at_once], atol=1e-5)
        # What is said of all of them is said once.
        plain = [line for line in said_at_once.splitlines() if not line.startswith("Recommending")]
        assert plain == [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Recommending")]


def test_a_short_list_begins_as_a_long_one(world: World) -> None:
    histories = {user: [f"i{row}" for row in rows] for user, rows in world.histories.items()}
    scores = recommend(world.workspace, histories=histories, k=20, beams=40)
    assert [line.item_id for line in recommend(world.workspace, histories=histories, k=1)] == [
        line.item_id for line in scores if line.rank == 1
    ]
    narrow = recommend(world.workspace, histories=histories, k=1, beams=1)  # as it is given
    assert [line.item_id for line in narrow] != [line.item_id for line in scores if line.rank == 1]


def test_only_fills_the_list_from_the_items_listed(world: World, tmp_path: Path) -> None:
    rows = [2, 7, 9, 20]
    only = listed(tmp_path / "only.parquet", rows)
    # As few beams as items wanted: an item outside the list must not take a place in the beam.
    found = recommend(world.workspace, histories={"u": ["i1", "i2"]}, k=4, only=only)
    assert {line.item_id for line in found} == {f"i{row}" for row in rows}


def test_fewer_items_than_wanted_is_said(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = listed(tmp_path / "only.parquet", [4, 5])
    found = recommend(world.workspace, histories={"u": ["i4"]}, only=only, filter_seen=True)
    assert [line.item_id for line in found] == ["i5"]
    assert "fewer than 10 items" in capsys.readouterr().err


def test_command_table_json_and_file(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = ["recommend", "-w", str(world.workspace), "-q", "-k", "3"]
    assert run([*start, "--history", "i1,i2", "--history", "i5"]) == 0
    assert "Dress number" in capsys.readouterr().out
    assert run([*start, "--history", "i1,i2,i5", "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)["recommendations"]
    expected = recommend(world.workspace, histories={"x": ["i1", "i2", "i5"]}, k=3)
    assert [line["item_id"] for line in lines] == [line.item_id for line in expected]
    output = tmp_path / "lists.parquet"
    assert run([*start, "--input", str(world.interactions), "-o", str(output)]) == 0
    written = pq.read_table(output).to_pydict()
    assert list(dict.fromkeys(written["user_id"])) == list(world.histories)
    assert written["rank"] == [1, 2, 3] * len(world.histories)
    user = next(iter(world.histories))
    alone = recommend(world.workspace, histories={user: [f"i{row}" for row in world.histories[user]]}, k=3)
    assert written["item_id"][:3] == [line.item_id for line in alone]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--history", "i1,nope"], "'nope'"),
        (["--history", ","], "history is empty"),
        ([], "not said for whom to recommend"),
        (["--history", "i1", "--query", "dress"], "a history and a query are given at once"),
        (["--query", " "], "query is empty"),
        (["--query", "dress", "--search", "best"], "--search 'best'"),
        (["--history", "i1", "-k", "5", "--beams", "4"], "--beams 4"),
        (["--history", "i1", "--max-history", "0"], "--max-history"),
        (["--history", "i1", "-o", "lists.txt"], ".parquet"),
        (["other", "--history", "i1"], "no such checkpoint"),
    ],
)
def test_bad_input(world: World, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recommend", "-q", "-w", str(world.workspace), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("asked", "words"), [(["--history", "i1,i2,i3,i4"], "--max-history"), (["--query", "red"], "")]
)
def test_more_tokens_than_the_model_has_positions(
    tmp_path: Path, asked: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    space = Workspace(make_world(tmp_path).workspace)
    add_checkpoint(space, space.require("semantic_ids", ""), "short", max_position_embeddings=12)
    assert run(["recommend", "-q", "-w", str(tmp_path / "space"), "short", *asked]) == 2
    err = capsys.readouterr().err
    assert "12 positions of the model" in err and words in err and len(err.splitlines()) == 1


def test_output_that_is_a_folder_is_refused_before_the_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lists.parquet").mkdir()
    # No workspace is there: that it is not said shows that nothing was looked for.
    start = ["recommend", "-q", "-w", str(tmp_path / "none"), "--history", "i1"]
    assert run([*start, "-o", str(tmp_path / "lists.parquet")]) == 2
    err = capsys.readouterr().err
    assert "a folder, or no permission" in err and len(err.splitlines()) == 1


def test_bad_lists(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables.write(tmp_path / "unknown.parquet", {"item_id": ["i1", "i3.0"]})
    every = listed(tmp_path / "all.parquet", list(range(ITEMS)))
    start = ["recommend", "-q", "-w", str(world.workspace), "--history", "i1"]
    assert run([*start, "--exclude", str(tmp_path / "unknown.parquet")]) == 2
    assert "'i3.0'; all differ by a trailing '.0' alone" in capsys.readouterr().err
    assert run([*start, "--exclude", str(every)]) == 2
    assert "no item to recommend" in capsys.readouterr().err


@pytest.mark.parametrize("search", ["beam", "exact"])
def test_a_query_is_answered_as_every_item_scores(world: World, tmp_path: Path, search: str) -> None:
    outside = [1, 4]
    values = query_scores(world, "a red dress")
    found = recommend(
        world.workspace,
        queries={"q": "a red dress "},
        k=6,
        search=search,
        beams=40 if search == "beam" else None,
        exclude=listed(tmp_path / "out.parquet", outside),
        dtype="float32",
    )
    assert [line.item_id for line in found] == best(values, [row for row in range(ITEMS) if row not in outside], 6)
    np.testing.assert_allclose(
        [line.score for line in found], values[[int(line.item_id[1:]) for line in found]], atol=1e-4
    )
    assert {line.user_id for line in found} == {"q"}


def test_exact_search_needs_no_wide_beam(world: World) -> None:
    history = {"u": ["i1", "i2", "i5"]}
    wide = recommend(world.workspace, histories=history, k=4, beams=40, filter_seen=True)
    exact = recommend(world.workspace, histories=history, k=4, search="exact", filter_seen=True)
    assert [line.item_id for line in wide] == [line.item_id for line in exact]


def test_by_default_few_users_are_searched_exactly(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    histories = {user: [f"i{row}" for row in rows] for user, rows in world.histories.items()}
    exact = recommend(world.workspace, histories=histories, k=1, search="exact", dtype="float32")
    capsys.readouterr()
    monkeypatch.setattr(search_parts, "MIN_BEAMS", 1)  # so narrow that beams miss the best item of some users
    assert recommend(world.workspace, histories=histories, k=1, dtype="float32") == exact
    assert "may be missing" not in capsys.readouterr().err
    # Each of these may miss some: beams that are given, too many users, and an exact search that would take too long.
    for number, (options, name, value) in enumerate(
        [({"beams": 1}, None, 0), ({}, "EXACT_PROMPTS", len(histories) - 1), ({}, "EXACT_PREFIXES", 1)]
    ):
        with monkeypatch.context() as patch:
            if name is not None:
                patch.setattr(settings, name, value)
            narrow = recommend(world.workspace, histories=histories, k=1, dtype="float32", **options)
        words = " ".join(capsys.readouterr().err.split())
        found = re.search(r"may be missing for (\d+) of (\d+) users", words)
        assert found is not None and "use --search exact" in words, number
        assert int(found[1]) == sum(not line.proven for line in narrow)
        different = [line for line, best in zip(narrow, exact, strict=True) if line.item_id != best.item_id]
        assert not any(line.proven for line in different) and all(line.proven for line in exact)
        wrong = len(different)
        assert 0 < wrong <= int(found[1]) <= int(found[2]) == len(histories)


def test_a_table_of_queries(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A row for each judged item, as `gti evaluate` reads it: every query is answered once.
    path = tmp_path / "queries.parquet"
    tables.write(path, {"query_id": ["a", "a", "b"], "query": ["blue", "blue", "red dress"], "item_id": ["i1"] * 3})
    start = ["recommend", "-w", str(world.workspace), "-q", "-k", "2", "--input"]
    assert run([*start, str(path), "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)["recommendations"]
    assert [(line["query_id"], line["rank"]) for line in lines] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    alone = recommend(world.workspace, queries={"x": "red dress"}, k=2)
    assert [line["item_id"] for line in lines[2:]] == [line.item_id for line in alone]
    assert run([*start, str(path), "-o", str(tmp_path / "out.parquet")]) == 0
    assert pq.read_table(tmp_path / "out.parquet").column_names == [
        *("query_id", "rank", "item_id", "title", "score", "proven"),
    ]
    capsys.readouterr()
    tables.write(path, {"query_id": ["a", "a"], "query": ["blue", "red"], "clicks": [1, 2]})
    assert run([argument for argument in [*start, str(path)] if argument != "-q"]) == 2
    notes = capsys.readouterr().err
    assert "row 2: the query 'a' reads 'red' here" in notes and notes.count("not read: column 'clicks'") == 1


def test_new_items_are_recommended_without_training(tmp_path: Path, make_checkpoint: Callable[..., Path]) -> None:
    space = tmp_path / "ws"
    build_ids(make_items(tmp_path), space, levels=2, codes=16)
    extend(str(make_checkpoint()), space, device="cpu")
    before = recommend(space, checkpoint="extended", queries={"q": "dress"}, k=80)
    assert not any(line.item_id.startswith("n") for line in before)
    build_ids(new_items(tmp_path), space, reuse=True)
    found = recommend(space, checkpoint="extended", queries={"q": "dress"}, k=92)
    assert len({line.item_id for line in found}) == 92
    new = {line.item_id: line.title for line in found if line.item_id.startswith("n")}
    assert new == {f"n{1000 + row}": f"red silk dress {row}" for row in range(12)}
    # Old items keep their scores, and a new one can stand in a history and alone make up the list.
    scores = {line.item_id: line.score for line in before}
    again = {line.item_id: line.score for line in found if line.item_id in scores}
    assert again == pytest.approx(scores, abs=1e-4)
    tables.write(tmp_path / "only.parquet", {"item_id": sorted(new)})
    only = recommend(space, checkpoint="extended", histories={"u": ["n1000"]}, k=12, only=tmp_path / "only.parquet")
    assert {line.item_id for line in only} == set(new)
