"""Two evaluations of one workspace, user by user."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gti_cli.app import run
from gti_cli.errors import InputError
from gti_cli.evaluation.compare import compare
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.workspace import Workspace
from tests.support.evaluation import World, add_checkpoint, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = make_world(tmp_path)
    space = Workspace(made.workspace)
    add_checkpoint(space, space.require("semantic_ids", ""), "another", seed=1)
    evaluate(made.interactions, made.workspace, k=[5, 10])
    evaluate(made.interactions, made.workspace, k=[5], checkpoint="another")
    return made


def test_differences_of_the_tables(world: World) -> None:
    manifest = compare(world.workspace, "finetuned", "another")
    mine, other = (
        pq.read_table(world.workspace / f"evaluation/{name}/per_user.parquet").to_pydict()
        for name in ("finetuned", "another")
    )
    # The other evaluation has no cut-off 10, and its reciprocal ranks end at 5.
    assert set(manifest.metrics) == {"recall@5", "ndcg@5"}
    for metric, found in manifest.metrics.items():
        assert found["difference"] == pytest.approx(np.mean(mine[metric]) - np.mean(other[metric]))
        assert found["low"] <= found["difference"] <= found["high"] and 0 < found["p"] <= 1
    written = json.loads((world.workspace / "evaluation/finetuned-vs-another/metrics.json").read_text())
    assert written["differences"] == manifest.metrics
    assert set(manifest.upstream) == {"evaluation/finetuned", "evaluation/another"}
    assert compare(world.workspace, "finetuned", "another").run == manifest.run  # done already


def test_what_cannot_be_compared(world: World) -> None:
    with pytest.raises(InputError, match="itself"):
        compare(world.workspace, "finetuned", "evaluation/finetuned")
    with pytest.raises(InputError, match=r"no evaluation called 'nothing'.*: finetuned, another; baselines, where"):
        compare(world.workspace, "finetuned", "nothing")
    evaluate(world.interactions, world.workspace, k=[5], split="valid", name="v")
    with pytest.raises(InputError, match=r"split 'test'.*'valid'"):
        compare(world.workspace, "finetuned", "v")


def test_another_search_is_told_of(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(world.interactions, world.workspace, k=[5], beams=7, name="narrow")
    capsys.readouterr()
    manifest = compare(world.workspace, "another", "narrow")
    assert manifest.details["searched_otherwise"] == "beams 20 and 7"
    assert "includes the effect of that: beams 20 and 7" in " ".join(capsys.readouterr().err.split())
    assert not compare(world.workspace, "finetuned", "another").details["searched_otherwise"]
    assert "different options" not in capsys.readouterr().err


def test_other_users_are_refused(world: World) -> None:
    lines = pq.read_table(world.interactions).to_pylist()
    fewer = world.interactions.with_name("fewer.jsonl")
    fewer.write_text("".join(json.dumps(line) + "\n" for line in lines if line["user_id"] != "u5"))
    evaluate(fewer, world.workspace, k=[5], name="fewer")
    with pytest.raises(InputError, match="not evaluated on the same users"):
        compare(world.workspace, "finetuned", "fewer")


def test_command(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "-w", str(world.workspace), "--interactions", str(world.interactions), "--k", "5,10"]
    assert run([*arguments, "--compare", "another", "-q"]) == 0
    out = capsys.readouterr().out
    assert "finetuned minus another" in out and "difference" in out and "finetuned-vs-another" in out
    assert run([*arguments, "--compare", "another", "-q", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparison"]["metrics"]["recall@5"]["p"] <= 1


def test_command_refuses_before_it_searches(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "-w", str(world.workspace), "--interactions", str(world.interactions), "--name", "new"]
    assert run([*arguments, "--compare", "nothing", "-q"]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1 and captured.out == ""
    assert not (world.workspace / "evaluation/new").exists()


def test_what_has_nothing_in_common_is_refused_before_the_search(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["evaluate", "-w", str(world.workspace), "--interactions", str(world.interactions), "-q", "--compare"]
    for arguments, words in (
        (["another", "--name", "new", "--k", "3"], "no metric in common"),
        (["another", "--name", "new", "--k", "5", "--split", "valid"], "split 'valid'"),
        (["another", "--name", "new", "--k", "5", "--filter-seen"], "filter_seen True"),
        (["another", "--name", "new", "--k", "5", "--duplicates", "drop"], "duplicates 'drop'"),
        (["another", "--name", "another", "--k", "5"], "itself"),
        (["finetuned", "--k", "5,10"], "itself"),
    ):
        assert run([*start, *arguments]) == 2
        captured = capsys.readouterr()
        assert words in captured.err and len(captured.err.strip().splitlines()) == 1 and captured.out == ""
        assert not (world.workspace / "evaluation/new").exists()
    evaluate(world.interactions, world.workspace, k=[3], name="three")
    with pytest.raises(InputError, match="no metric in common"):
        compare(world.workspace, "three", "another")


@pytest.mark.parametrize("baseline", ["popularity", "item-knn", "item-knn (untuned)"])
def test_a_baseline_is_compared_by_its_name(world: World, baseline: str) -> None:
    manifest = compare(world.workspace, "finetuned", baseline)
    metrics = evaluate(world.interactions, world.workspace, k=[5, 10]).metrics
    assert set(manifest.metrics) == {"recall@5", "ndcg@5", "recall@10", "ndcg@10", "mrr"}
    for metric, found in manifest.metrics.items():
        gap = metrics["metrics"][metric] - metrics["baselines"][baseline][metric]
        assert found["difference"] == pytest.approx(gap) and found["low"] <= gap <= found["high"]
    assert set(manifest.upstream) == {"evaluation/finetuned"}
    assert manifest.name == "evaluation/finetuned-vs-" + baseline.replace(" (untuned)", "-untuned")


def test_an_evaluation_goes_before_a_baseline_of_its_name(world: World) -> None:
    evaluate(world.interactions, world.workspace, k=[5, 10], checkpoint="another", name="popularity")
    manifest = compare(world.workspace, "finetuned", "popularity")
    assert set(manifest.upstream) == {"evaluation/finetuned", "evaluation/popularity"}


def test_a_baseline_that_was_not_asked_for(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"no evaluation called 'sasrec'.*where --baselines names them: popularity"):
        compare(world.workspace, "finetuned", "sasrec")
    arguments = ["evaluate", "-w", str(world.workspace), "--interactions", str(world.interactions), "--k", "5,10", "-q"]
    assert run([*arguments, "--compare", "sasrec"]) == 2  # before anything is searched
    assert "Add sasrec to --baselines" in capsys.readouterr().err
    assert run([*arguments, "--compare", "item-knn"]) == 0
    assert "finetuned minus item-knn" in capsys.readouterr().out
