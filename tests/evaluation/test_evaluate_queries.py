"""`gti evaluate --queries` against scoring every item for every query with forward passes of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import ndcg_score

from gti_cli import tables
from gti_cli.app import run
from gti_cli.cards import trained_tasks
from gti_cli.evaluation import evaluate_queries
from gti_cli.evaluation.compare import compare
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.evaluation.evaluate_queries import tied_groups
from gti_cli.workspace import Workspace
from tests.support.evaluation import ITEMS, World, add_checkpoint, make_world, query_scores

TEXTS = [f"dress number {n}" if n % 2 else f"a dress of colour {n}" for n in range(12)]


def graded(number: int) -> dict[int, int]:
    """Row -> grade of a query's judged items; the last query has no good one."""
    rng = np.random.default_rng(number)
    rows = rng.permutation(ITEMS)[:6].tolist()
    grades = [2, 2, 1, 1, 0, 0] if number < len(TEXTS) - 1 else [1, 1, 1, 0, 0, 0]
    return dict(zip(rows, grades, strict=True))


def split_of(number: int) -> str:
    return "train" if number < 4 else "test"


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    rows = [
        (f"q{n}", text, f"i{row}", grade, split_of(n))
        for n, text in enumerate(TEXTS)
        for row, grade in graded(n).items()
    ]
    names = ("query_id", "query", "item_id", "relevance", "split")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    tables.write(tmp_path / "queries.parquet", columns)
    return tmp_path / "queries.parquet"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.mark.parametrize("at_once", [1, 3, 256])
def test_equal_to_scoring_every_item(
    world: World, queries: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate_queries, "_QUERIES_AT_ONCE", at_once)
    manifest = evaluate(queries=queries, workspace=world.workspace, k=[3, 10], beams=40, batch_size=3, dtype="float32")
    assert manifest.name == "evaluation/finetuned-search"
    evaluated = [n for n in range(len(TEXTS)) if split_of(n) == "test" and 2 in graded(n).values()]
    assert manifest.counts["evaluated"] == len(evaluated) == 7
    assert manifest.counts["left_out_without_good"] == 1
    found = pq.read_table(world.workspace / "evaluation/finetuned-search/per_query.parquet").to_pydict()
    lists = pq.read_table(world.workspace / "evaluation/finetuned-search/recommendations.parquet").to_pylist()
    assert found["query_id"] == [f"q{n}" for n in evaluated]
    for place, number in enumerate(evaluated):
        # Rounded, so that the two items of one semantic ID tie, as they do in scikit-learn's average over ties.
        scores = np.round(query_scores(world, TEXTS[number]), 5)
        grades = np.array([graded(number).get(row, 0) for row in range(ITEMS)])
        for k in (3, 10):
            expected = ndcg_score([2.0**grades - 1], [scores], k=k)
            assert found[f"ndcg@{k}"][place] == pytest.approx(expected, abs=1e-6)
        order = np.argsort(-scores, kind="stable")[:10]
        mine = [row for row in lists if row["query_id"] == f"q{number}"]
        assert [row["item_id"] for row in mine] == [f"i{row}" for row in order]
    assert manifest.metrics["metrics"]["ndcg@10"] == pytest.approx(np.mean(found["ndcg@10"]))
    low, high = manifest.metrics["intervals"]["ndcg@10"]
    assert low <= manifest.metrics["metrics"]["ndcg@10"] <= high


def test_baselines_stand_beside_it_and_a_checkpoint_that_never_saw_a_query_is_named(
    world: World, queries: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trained_tasks, "trained_tasks", lambda *_: {"next-item"})
    manifest = evaluate(queries=queries, workspace=world.workspace, k=[5])
    assert manifest.details["never_trained_on"] == "queries"
    assert "never saw queries in training" in " ".join(capsys.readouterr().err.split())
    baselines = manifest.metrics["baselines"]
    assert set(baselines) == {"popularity", "bm25"}
    assert set(baselines["bm25"]) == set(manifest.metrics["metrics"])
    # Popularity: the items that are good for training queries, by number of these.
    counts = np.zeros(ITEMS)
    for number in range(4):
        for row, grade in graded(number).items():
            counts[row] += grade == 2
    scores = np.where(counts > 0, counts, -1.0)
    values = []
    for number in range(4, len(TEXTS) - 1):
        grades = np.array([graded(number).get(row, 0) for row in range(ITEMS)])
        values.append(ndcg_score([np.where(counts > 0, 2.0**grades - 1, 0)], [scores], k=5))
        listed, judged = (np.sort(x)[::-1][:5] for x in (np.where(counts > 0, grades, 0), grades))
        ideal = [sum((2.0**g - 1) / np.log2(np.arange(2, 7))) for g in (listed, judged)]
        values[-1] *= ideal[0] / ideal[1]
    assert baselines["popularity"]["ndcg@5"] == pytest.approx(np.mean(values))
    slices = manifest.metrics["slices"]
    assert set(slices) == {"good_items", "query_words", "good_items_good_in_training"}
    for bins in slices.values():
        assert sum(entry["queries"] for entry in bins.values()) == manifest.counts["evaluated"]


def test_a_catalogue_without_words_has_no_bm25(
    world: World, queries: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    strings = tables.strings
    wordless = lambda table, name, path: ["?!"] * ITEMS if name == "text" else strings(table, name, path)  # noqa: E731
    monkeypatch.setattr(tables, "strings", wordless)
    manifest = evaluate(queries=queries, workspace=world.workspace, k=[5])
    assert set(manifest.metrics["baselines"]) == {"popularity"}
    assert "bm25 is left out" in capsys.readouterr().err


def test_compare_pairs_queries(world: World, queries: Path) -> None:
    space = Workspace(world.workspace)
    add_checkpoint(space, space.require("semantic_ids", ""), "other", seed=5)
    first = evaluate(queries=queries, workspace=world.workspace, k=[5])
    other = evaluate(queries=queries, workspace=world.workspace, k=[5], checkpoint="other")
    found = compare(world.workspace, "finetuned-search", "other-search")
    gap = first.metrics["metrics"]["precision_maybe@5"] - other.metrics["metrics"]["precision_maybe@5"]
    assert found.metrics["precision_maybe@5"]["difference"] == pytest.approx(gap)


def test_groups_of_equal_scores() -> None:
    scores = np.array([1.0, 3.0, -np.inf, 1.0, 2.0, 1.0, 0.5])
    assert tied_groups(scores, 1) == [[1]]
    assert tied_groups(scores, 3) == [[1], [4], [0, 3, 5]]  # the tie at the cut is whole
    assert tied_groups(scores, 99) == [[1], [4], [0, 3, 5], [6]]
    assert tied_groups(np.full(3, -np.inf), 2) == []


def test_command(world: World, queries: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["evaluate", "-w", str(world.workspace), "--queries", str(queries), "--k", "5"]
    assert run([*given, "-q"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("7 queries", "bm25", "_good@5", "ndcg@5", "1 queries have no item"))
    assert run([*given, "-q", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["evaluated"] == 7
    assert run([*given, "-q", "--baselines", "sasrec"]) == 2
    assert "--baselines" in capsys.readouterr().err.splitlines()[-1]
    assert run([*given, "-q", "--history", "5"]) == 2
    assert "--history is about users' items" in capsys.readouterr().err
    assert run([*given, "-q", "--filter-seen"]) == 2
    assert run([*given, "-q", "--interactions", str(world.interactions)]) == 2
    assert run([*given[:3], "-q"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "--filter-seen" in lines[0] and "at once" in lines[1] and "nothing to evaluate on" in lines[2]
