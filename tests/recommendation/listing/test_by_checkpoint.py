"""Lists made piece by piece, against the lists of one piece."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gti_cli import tables
from gti_cli.recommendation import requests
from gti_cli.recommendation.recommend import recommend, recommend_in_pieces
from tests.support.evaluation import World, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("by-checkpoint"))


@pytest.fixture(scope="module")
def shoppers(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of five users, one of whom has seen a lot."""
    path = tmp_path_factory.mktemp("tables") / "shoppers.parquet"
    lengths = {"a": 3, "b": 1, "c": 30, "d": 2, "e": 4}
    rows = [(user, f"i{(7 * n + len(user)) % 24}", n) for user, length in lengths.items() for n in range(length)]
    users, items, times = zip(*rows, strict=True)
    return tables.write(path, {"user_id": list(users), "item_id": list(items), "timestamp": list(times)}) or path


@pytest.mark.parametrize("piece", [1, 2, 5])
def test_pieces_are_the_lists_of_one_piece(
    world: World, shoppers: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"k": 4, "beams": 12, "filter_seen": True, "device": "cpu"}
    whole = recommend(world.workspace, table=shoppers, **options)
    monkeypatch.setattr(requests, "PIECE", piece)
    found = list(recommend_in_pieces(world.workspace, table=shoppers, **options))
    assert len(found) == -(-5 // piece)
    lines = [line for part in found for line in part]
    assert [(line.user_id, line.rank, line.item_id, line.proven) for line in lines] == [
        (line.user_id, line.rank, line.item_id, line.proven) for line in whole
    ]
    # A batch of other users is padded to another length, which moves the last digits.
    assert [line.score for line in lines] == pytest.approx([line.score for line in whole], abs=1e-4)


def test_what_is_said_counts_all_pieces_and_stands_once(
    world: World, shoppers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(requests, "PIECE", 2)
    recommend(world.workspace, table=shoppers, k=1000, search="beam", max_history=3, device="cpu")
    said = re.sub(r"\s+", " ", capsys.readouterr().err)
    assert said.count("further back than the 3 that a prompt shows") == 1
    assert said.count("5 of 5 users have fewer than 1000 items left") == 1


def test_queries_in_pieces(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "queries.parquet"
    tables.write(table, {"query_id": ["1", "2", "1", "3"], "query": ["red hat", " blue", "red hat ", "coat"]})
    options = {"table": table, "k": 3, "search": "exact", "device": "cpu"}
    whole = recommend(world.workspace, **options)
    monkeypatch.setattr(requests, "PIECE", 2)
    found = list(recommend_in_pieces(world.workspace, **options))
    assert [list(piece.users) for piece in found] == [["1", "2"], ["3"]]
    lines = [line for piece in found for line in piece]
    assert [(line.user_id, line.rank, line.item_id) for line in lines] == [
        (line.user_id, line.rank, line.item_id) for line in whole
    ]


def test_candidates_in_pieces(
    world: World, shoppers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "candidates.parquet"
    owners, items = list("eeaaabcc"), [f"i{row}" for row in (3, 1, 2, 9, 4, 7, 5, 6)]
    tables.write(listed, {"user_id": owners, "item_id": items, "score": [float(n) for n in range(8)]})
    options = {"table": shoppers, "candidates": listed, "k": 2, "filter_seen": True, "device": "cpu"}
    whole = recommend(world.workspace, **options)
    monkeypatch.setattr(requests, "PIECE", 2)
    capsys.readouterr()
    found = list(recommend_in_pieces(world.workspace, **options))
    assert len(found) == 3 and {line.user_id for line in whole} <= set("abce")
    lines = [line for piece in found for line in piece]
    assert [(line.user_id, line.item_id, line.retriever_score) for line in lines] == [
        (line.user_id, line.item_id, line.retriever_score) for line in whole
    ]
    assert capsys.readouterr().err.count("candidates are listed where there are more") <= 1
