"""The stage against scoring every item for every user with forward passes of its own."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gti_cli.app import run
from gti_cli.errors import InputError
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.workspace import Workspace
from tests.support.evaluation import (
    HISTORY,
    ITEMS,
    World,
    add_checkpoint,
    add_semantic_ids,
    item_scores,
    make_codes,
    make_world,
    write_interactions,
)


def expectation(world: World, scores: dict[str, np.ndarray], k: int, filter_seen: bool) -> dict[str, float]:
    """Recall@k, NDCG@k and MRR@k by a loop over users and over the ranks of each tie."""
    recall, ndcg, mrr = [], [], []
    for user, values in scores.items():
        items = world.histories[user]
        seen = set(items[:-1]) if filter_seen else set()
        allowed = [row for row in range(ITEMS) if row not in seen]
        target = items[-1]
        alike = [row for row in allowed if (world.codes[row] == world.codes[target]).all()]
        before = sum(values[row] > values[target] for row in allowed if row not in alike)
        ranks = range(before + 1, before + len(alike) + 1) if target in alike else []
        recall.append(sum(rank <= k for rank in ranks) / max(len(alike), 1))
        ndcg.append(sum(1 / math.log2(1 + rank) for rank in ranks if rank <= k) / max(len(alike), 1))
        mrr.append(sum(1 / rank for rank in ranks if rank <= k) / max(len(alike), 1))
    return {f"recall@{k}": np.mean(recall), f"ndcg@{k}": np.mean(ndcg), "mrr": np.mean(mrr)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.mark.parametrize("filter_seen", [False, True])
def test_equal_to_scoring_every_item(world: World, filter_seen: bool) -> None:
    scores = item_scores(world)
    # As many beams as semantic IDs: the search misses nothing, whatever the cut-off.
    options = {"k": [10], "beams": 40, "filter_seen": filter_seen, "batch_size": 5, "dtype": "float32"}
    manifest = evaluate(world.interactions, world.workspace, **options)
    expected = expectation(world, scores, 10, filter_seen)
    assert {name: manifest.metrics["metrics"][name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert manifest.counts["evaluated"] == len(scores) == manifest.counts["test_targets"]
    rows = pq.read_table(world.workspace / "evaluation/finetuned/recommendations.parquet").to_pylist()
    for user, values in scores.items():
        mine = [row for row in rows if row["user_id"] == user]
        seen = set(world.histories[user][:-1]) if filter_seen else set()
        order = sorted((row for row in range(ITEMS) if row not in seen), key=lambda row: -round(float(values[row]), 4))
        assert [row["rank"] for row in mine] == list(range(1, 11))
        assert [row["item_id"] for row in mine] == [f"i{row}" for row in order[:10]]
        np.testing.assert_allclose([row["score"] for row in mine], values[order[:10]], atol=1e-4)


def test_files_and_counts(world: World) -> None:
    manifest = evaluate(world.interactions, world.workspace, k=[5, 10], batch_size=4)
    folder = world.workspace / "evaluation/finetuned"
    written = json.loads((folder / "metrics.json").read_text())
    assert written["metrics"] == manifest.metrics["metrics"]
    assert set(written["baselines"]) == {"popularity", "item-knn", "item-knn (untuned)"}
    assert written["tuning"]["item-knn"]["settings_tried"] > 20
    assert set(written["baselines"]["popularity"]) == set(written["metrics"])
    users = pq.read_table(folder / "per_user.parquet").to_pydict()
    assert users["user_id"] == [user for user, items in world.histories.items() if len(items) >= 3]
    assert np.mean(users["recall@5"]) == pytest.approx(written["metrics"]["recall@5"])
    cut = sum(max(len(items) - 1 - HISTORY, 0) for items in world.histories.values() if len(items) >= 3)
    assert manifest.counts["interactions_not_shown"] == cut > 0
    assert manifest.counts["semantic_ids"] == manifest.counts["catalogue"] - 1 == ITEMS - 1


def test_rows_that_stand_twice(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    once = evaluate(world.interactions, world.workspace, k=[5])
    table = pq.read_table(world.interactions)
    doubled = world.interactions.with_name("doubled.parquet")
    pq.write_table(pa.concat_tables([table, table]), doubled)
    kept = evaluate(doubled, world.workspace, k=[5], name="kept")
    assert kept.counts["repeated_rows"] == table.num_rows and "duplicates" not in kept.options
    assert "--duplicates drop" in capsys.readouterr().err
    dropped = evaluate(doubled, world.workspace, k=[5], name="dropped", duplicates="drop")
    assert dropped.options["duplicates"] == "drop" and dropped.metrics["metrics"] == once.metrics["metrics"]
    with pytest.raises(InputError, match="--duplicates is about a table of interactions, and none is read"):
        evaluate(queries=doubled, workspace=world.workspace, duplicates="drop")


def test_batch_size_changes_nothing(world: World) -> None:
    found = []
    for size in (1, 3, 100):
        evaluate(world.interactions, world.workspace, k=[5], batch_size=size, name=f"b{size}")
        found.append(pq.read_table(world.workspace / f"evaluation/b{size}/recommendations.parquet").to_pydict())
    assert found[0]["item_id"] == found[1]["item_id"] == found[2]["item_id"]
    np.testing.assert_allclose(found[0]["score"], found[2]["score"], atol=1e-4)


def test_same_bytes_and_done_already(world: World) -> None:
    first = evaluate(world.interactions, world.workspace, k=[5])
    again = evaluate(world.interactions, world.workspace, k=[5])
    assert again.run == first.run
    forced = evaluate(world.interactions, world.workspace, k=[5], name="other")
    assert list(forced.outputs.values()) == list(first.outputs.values())


def test_short_lists_are_counted(world: World) -> None:
    manifest = evaluate(world.interactions, world.workspace, k=[ITEMS], filter_seen=True)
    # Everyone has seen something, so nobody can be shown as many items as there are.
    assert manifest.counts["lists_shorter_than_k"] == manifest.counts["evaluated"]
    assert manifest.metrics["metrics"][f"recall@{ITEMS}"] > 0.9 - manifest.counts["targets_in_history"] / 10


def test_a_short_list_has_no_narrow_beam(world: World) -> None:
    assert evaluate(world.interactions, world.workspace, k=[1]).counts["beams"] == 20
    assert evaluate(world.interactions, world.workspace, k=[1, 25], name="long").counts["beams"] == 25
    assert evaluate(world.interactions, world.workspace, k=[1], beams=3, name="given").counts["beams"] == 3


def test_validation_part(world: World) -> None:
    manifest = evaluate(world.interactions, world.workspace, k=[5], split="valid", name="v")
    targets = pq.read_table(world.workspace / "evaluation/v/per_user.parquet").to_pydict()["target"]
    assert targets == [f"i{items[-2]}" for items in world.histories.values() if len(items) >= 3]
    assert manifest.options["split"] == "valid"


def test_command_prints_one_row_for_each_method(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "-w", str(world.workspace), "--interactions", str(world.interactions), "--k", "5,10"]
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("finetuned", "popularity", "item-knn", "recall@10", "ndcg@5"))
    assert run(arguments) == 0  # done already: the same table, in the same order
    assert [row for row in capsys.readouterr().out.splitlines() if "│" in row] == [
        row for row in out.splitlines() if "│" in row
    ]
    assert run([*arguments, "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["evaluated"] > 0


def refused(arguments: list[str], world: World, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command, which must refuse in one line and write nothing; returns the line."""
    line = refused_line(["evaluate", "-w", str(world.workspace), *arguments], capsys)
    assert not (world.workspace / "evaluation").exists()
    return line


def refused_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run([*arguments, "--quiet"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    errors = [line for line in captured.err.splitlines() if not line.startswith("warning")]
    assert len(errors) == 1, captured.err
    return errors[0]


def test_bad_options(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--interactions", str(world.interactions)]
    assert "--beams 9" in refused([*given, "--k", "10", "--beams", "9"], world, capsys)
    assert "--baselines 'bm25'" in refused([*given, "--baselines", "popularity,bm25"], world, capsys)
    assert "'train'" in refused([*given, "--split", "train"], world, capsys)
    assert "--k" in refused([*given, "--k", "0"], world, capsys)
    assert "--history" in refused([*given, "--history", "0"], world, capsys)


def test_bad_input(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = write_interactions(tmp_path / "unknown.parquet", world.histories, "x{}".format)
    assert "without a semantic ID" in refused(["--interactions", str(unknown)], world, capsys)
    short = write_interactions(tmp_path / "short.parquet", {"u": [1, 2], "v": [3]})
    assert "no user can be evaluated" in refused(["--interactions", str(short)], world, capsys)
    assert "no such file" in refused(["--interactions", str(tmp_path / "none.parquet")], world, capsys)


def test_checkpoints_that_do_not_fit(
    world: World, tmp_path: Path, make_checkpoint: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--interactions", str(world.interactions)]
    assert "no new tokens" in refused([str(make_checkpoint()), *given], world, capsys)
    other = Workspace(tmp_path / "other")
    codes = make_codes()[::-1].copy()
    add_checkpoint(other, add_semantic_ids(other, codes, "others"))
    folder = str(tmp_path / "other" / "finetuned")
    assert "other semantic IDs" in refused([folder, *given], world, capsys)
    assert "does not exist" in refused_line(["evaluate", "-w", str(tmp_path / "empty"), *given], capsys)


def test_another_history_than_in_training_is_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(world.interactions, world.workspace, k=[5], history=2)
    assert f"fine-tuned with {HISTORY}" in capsys.readouterr().err


def test_another_table_than_in_training_is_said(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = Workspace(world.workspace)
    add_checkpoint(space, space.require("semantic_ids", ""), "trained", interactions=world.interactions)
    other = write_interactions(tmp_path / "other.parquet", {user: rows[1:] for user, rows in world.histories.items()})
    same = evaluate(world.interactions, world.workspace, k=[5], checkpoint="trained")
    assert "another table" not in capsys.readouterr().err and "other_table" not in same.details
    found = evaluate(other, world.workspace, k=[5], checkpoint="trained", name="other")
    assert "fine-tuned on another table" in capsys.readouterr().err and found.details["other_table"] is True


def test_more_tokens_than_the_model_has_positions(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    space = Workspace(world.workspace)
    add_checkpoint(space, space.require("semantic_ids", ""), "short", max_position_embeddings=12)
    given = ["short", "--interactions", str(world.interactions)]
    line = refused(given, world, capsys)
    assert "12 positions of the model" in line and "--history" in line
    # Learned positions end: as many as are needed are enough, and one fewer is too few.
    needed = int(line.partition("has ")[2].partition(" tokens")[0])
    for positions in (needed - 1, needed):
        sizes = {"n_positions": positions, "max_position_embeddings": positions}
        add_checkpoint(space, space.require("semantic_ids", ""), f"gpt{positions}", kind="gpt2", **sizes)
    assert f"{needed - 1} positions" in refused([f"gpt{needed - 1}", *given[1:]], world, capsys)
    evaluate(world.interactions, world.workspace, k=[5], checkpoint=f"gpt{needed}")


def test_targets_that_filter_seen_hides_are_said(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_interactions(tmp_path / "again.parquet", {"u": [1, 2, 1], "v": [3, 4, 5]})
    arguments = ["evaluate", "-w", str(world.workspace), "--interactions", str(table), "--k", "5", "-q"]
    assert run([*arguments, "--baselines", "popularity", "--filter-seen"]) == 0
    assert "1 of 2 targets are items the user already had" in " ".join(capsys.readouterr().out.split())


def test_exact_search_needs_no_wide_beam(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(world.interactions, world.workspace, k=[3], beams=40, name="wide")  # wide enough to miss nothing
    arguments = ["evaluate", "-w", str(world.workspace), "--interactions", str(world.interactions), "--k", "3"]
    assert run([*arguments, "--search", "exact", "--name", "exact"]) == 0
    assert "The beam alone would have missed" in capsys.readouterr().out
    lists = [
        pq.read_table(world.workspace / f"evaluation/{name}/recommendations.parquet").to_pydict()
        for name in ("wide", "exact")
    ]
    assert lists[0]["item_id"] == lists[1]["item_id"]
    np.testing.assert_allclose(lists[0]["score"], lists[1]["score"], atol=1e-4)
    assert "--search 'best'" in refused_line([*arguments, "--search", "best"], capsys)
