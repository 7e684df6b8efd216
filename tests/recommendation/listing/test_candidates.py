"""Candidates of another recommender: read with all that is wrong in them, and ranked as forward passes score them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli import tables
from gti_cli.app import run
from gti_cli.errors import InputError
from gti_cli.recommendation.listing.candidates import Candidates, leave_out, read_candidates
from gti_cli.recommendation.recommend import recommend
from gti_cli.recommendation.requests import RecommendationRequests
from gti_cli.tables.arrays.row_lists import RowLists
from tests.support.evaluation import World, item_scores, make_world, query_scores, write_interactions

ROW_OF = {f"i{row}": row for row in range(10)}
USERS = RecommendationRequests({"a": ["i1"], "b": ["i2"], "c": ["i3"]}, None)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("candidates"))


def written(path: Path, **columns: list[Any]) -> Path:
    tables.write(path, columns)
    return path


def lists_of(candidates: Candidates) -> list[list[int]]:
    offsets, rows = candidates.lists.offsets, candidates.lists.rows
    return [rows[first:end].tolist() for first, end in pairwise(offsets)]


def scores_of(candidates: Candidates) -> list[list[float]]:
    scores = candidates.retriever_scores
    scores = np.full(len(candidates.lists.rows), np.nan) if scores is None else scores
    return [scores[first:end].tolist() for first, end in pairwise(candidates.lists.offsets)]


@settings(max_examples=20)
@given(st.lists(st.tuples(st.sampled_from("abcxy"), st.integers(0, 14), st.floats(-9, 9)), min_size=1, max_size=20))
def test_each_known_item_once_in_the_order_of_the_file(rows: list[tuple[str, int, float]]) -> None:
    expected: dict[str, dict[int, float]] = {user: {} for user in "abc"}
    for user, item, score in rows:
        if user in expected and item < 10:
            expected[user].setdefault(item, score)
    if not {user for user, _, _ in rows} & set("abc") or all(item > 9 for _, item, _ in rows):
        return  # refused, see test_what_cannot_be_used_at_all_is_refused
    with pytest.MonkeyPatch.context() as patch:
        import pyarrow as pa

        users, items, scores = map(list, zip(*rows, strict=True))
        table = pa.table({"user_id": users, "item_id": [f"i{item}" for item in items], "score": scores})
        patch.setattr(tables, "read", lambda *_: table)
        found = read_candidates("table.parquet", USERS, ROW_OF, names_are_given=True)
    assert lists_of(found) == [list(items) for items in expected.values()]
    assert scores_of(found) == [list(items.values()) for items in expected.values()]
    part = found.part(1, 3)
    assert lists_of(part) == lists_of(found)[1:] and scores_of(part) == scores_of(found)[1:]


def test_what_is_wrong_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(
        tmp_path / "candidates.parquet",
        user_id=["b", "a", "a", "z", "a", "a"],
        item_id=["i1", "i5", "x1", "i1", "i5", "i2"],
        score=[0.5, None, 1.0, 2.0, 3.0, 4.0],
    )
    found = read_candidates(path, USERS, ROW_OF, names_are_given=True)
    assert lists_of(found) == [[5, 2], [1], []]
    np.testing.assert_array_equal(scores_of(found)[0], [np.nan, 4.0])
    said = capsys.readouterr().err
    assert "1 of 4 candidate items are not in the catalogue: 'x1'; rows left out: 1" in said
    assert "rows that repeat a candidate: 1;" in said
    assert "1 of 3 users have no candidates" in said
    assert "1 of 3 users are not asked for" in said


def test_infinite_scores_are_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A retriever marks what it rules out so; JSON has no such number."""
    scores = [-np.inf, 2.0, np.inf]
    path = written(tmp_path / "c.parquet", user_id=["a", "a", "b"], item_id=["i1", "i2", "i3"], score=scores)
    found = read_candidates(path, USERS, ROW_OF, names_are_given=True)
    assert lists_of(found)[:2] == [[1, 2], [3]]
    np.testing.assert_array_equal(np.concatenate(scores_of(found)), [np.nan, 2.0, np.nan])
    assert "2 scores are infinite: not shown, as if they were missing" in capsys.readouterr().err


def test_what_a_list_must_not_have_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "c.parquet", user_id=["a", "a", "b", "c"], item_id=["i1", "i2", "i1", "i3"])
    given_candidates = read_candidates(path, USERS, ROW_OF, names_are_given=True)
    left = leave_out(given_candidates, np.isin(np.arange(10), [1, 2, 3]), RowLists.of([{2, 9}, {1}, set()]), "users")
    assert lists_of(left) == [[1], [], [3]]
    assert "2 of 4 candidates are left out" in capsys.readouterr().err
    with pytest.raises(InputError, match="no candidate is left"):
        leave_out(given_candidates, np.arange(10) == 7, None, "users")


ONE = RecommendationRequests({"1": ["i1"]}, None)


@pytest.mark.parametrize(
    ("requests", "columns", "words"),
    [
        (USERS, {"item_id": ["i1"]}, "column 'user_id' is missing"),
        (USERS, {"user_id": ["7.0"], "item_id": ["i1"]}, "none of the 1 users is among those to recommend for: '7.0'"),
        (USERS, {"user_id": ["a"], "item_id": ["01"]}, "1 of 1 candidate items are not in the catalogue"),
        (USERS, {"user_id": ["a", "a"], "item_id": ["i1", "i2"], "score": ["1", "high"]}, "'high' is not a number"),
        (ONE, {"user_id": ["a", "1"], "item_id": ["i1", "i2"]}, "the candidates of 2 users"),
    ],
)
def test_what_cannot_be_used_at_all_is_refused(
    tmp_path: Path, requests: RecommendationRequests, columns: dict[str, list[Any]], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        read_candidates(written(tmp_path / "c.parquet", **columns), requests, ROW_OF, names_are_given=requests is USERS)


def test_users_of_a_table_get_their_own_candidates(world: World, tmp_path: Path) -> None:
    values = item_scores(world)
    histories = {user: world.histories[user][:-1] for user in values}
    rng = np.random.default_rng(0)
    given_rows = {user: rng.permutation(26)[: 3 + number].tolist() for number, user in enumerate(histories)}
    given_rows[next(iter(histories))] += [3, 7]  # share a semantic ID
    pairs = [(user, f"i{row}") for user, rows in given_rows.items() for row in dict.fromkeys(rows)]
    users, items = map(list, zip(*pairs, strict=True))
    candidates = written(tmp_path / "c.parquet", user_id=users, item_id=items, score=list(range(len(items))))
    table, output = write_interactions(tmp_path / "histories.parquet", histories), tmp_path / "lists.parquet"
    start = ["recommend", "-q", "-w", str(world.workspace), "--input", str(table), "-o", str(output)]
    assert run([*start, "--candidates", str(candidates), "-k", "8", "--dtype", "float32"]) == 0
    found = pq.read_table(output).to_pylist()
    for user, rows in given_rows.items():
        lines = [line for line in found if line["user_id"] == user]
        # Rounded, so that items with one semantic ID stay in the order of the file.
        order = sorted(dict.fromkeys(rows), key=lambda row: -round(float(values[user][row]), 4))[:8]
        assert [line["item_id"] for line in lines] == [f"i{row}" for row in order]
        np.testing.assert_allclose([line["score"] for line in lines], values[user][order], atol=1e-4)
        assert [line["retriever_score"] for line in lines] == [pairs.index((user, f"i{row}")) for row in order]


def test_one_query_or_history_needs_no_user_id(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [9, 4, 20, 11]
    listed = tmp_path / "candidates.csv"
    listed.write_text("item_id,points\n" + "".join(f"i{row},{row / 2}\n" for row in rows))
    start = ["recommend", "-w", str(world.workspace), "--candidates", str(listed), "--json", "--dtype", "float32"]
    start += ["--columns", "score=points"]
    assert run([*start, "--query", "a red dress", "-k", "3"]) == 0
    captured = capsys.readouterr()
    lines = json.loads(captured.out)["recommendations"]
    values = query_scores(world, "a red dress")
    order = sorted(rows, key=lambda row: -values[row])[:3]
    assert [(line["item_id"], line["retriever_score"]) for line in lines] == [(f"i{row}", row / 2) for row in order]
    assert "(1 of 1 queries): -k 4 lists all" in captured.err
    assert run([*start, "-q", "--history", "i1,i2"]) == 0
    lines = json.loads(capsys.readouterr().out)["recommendations"]
    exact = recommend(world.workspace, histories={"u": ["i1", "i2"]}, k=26, search="exact", dtype="float32")
    expected = [line for line in exact if line.item_id in {f"i{row}" for row in rows}]
    assert [line["item_id"] for line in lines] == [line.item_id for line in expected]
    np.testing.assert_allclose([line["score"] for line in lines], [line.score for line in expected], atol=1e-5)


def test_queries_of_a_table_are_told_apart_by_id_or_words(tmp_path: Path) -> None:
    queries = RecommendationRequests(None, {"q1": "red", "q2": "blue"})
    by_id = written(tmp_path / "id.parquet", query_id=["q2", "q1"], query=["-", "-"], item_id=["i1", "i2"])
    by_words = written(tmp_path / "words.parquet", query=[" blue ", "red"], item_id=["i1", "i2"])
    for path in (by_id, by_words):
        assert lists_of(read_candidates(path, queries, ROW_OF, names_are_given=True)) == [[2], [1]]


def test_a_search_is_not_asked_for_with_candidates(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    start = ["recommend", "-q", "-w", str(world.workspace), "--history", "i1", "--candidates", "c.parquet"]
    for more in (["--search", "exact"], ["--beams", "20"]):
        assert run([*start, *more]) == 2
        assert "--candidates are scored exactly" in capsys.readouterr().err
