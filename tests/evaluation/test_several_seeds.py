"""Several seeds: mean and spread over the runs, and groups of runs compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gti_cli import tables
from gti_cli.app import run
from gti_cli.errors import InputError
from gti_cli.evaluation.compare import compare
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.evaluation.several_seeds import evaluate_several, summarise
from gti_cli.workspace import Workspace
from tests.support.evaluation import World, add_checkpoint, make_world

SEEDS = ("s0", "s1", "s2")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = make_world(tmp_path)
    space = Workspace(made.workspace)
    for seed, name in enumerate(SEEDS):
        add_checkpoint(space, space.require("semantic_ids", ""), name, seed=seed)
    return made


def test_mean_and_spread(world: World) -> None:
    found, name = evaluate_several(SEEDS, world.interactions, world.workspace, k=[3, 5])
    manifest = summarise(found, world.workspace, name)
    assert manifest.name == "evaluation/s0-and-2-more"
    alone = [evaluate(world.interactions, world.workspace, k=[3, 5], checkpoint=seed) for seed in SEEDS]
    for metric, mean in manifest.metrics["metrics"].items():
        values = [one.metrics["metrics"][metric] for one in alone]
        assert mean == pytest.approx(np.mean(values))
        assert manifest.metrics["spread"][metric] == pytest.approx(np.std(values, ddof=1))
        assert [manifest.metrics["runs"][seed][metric] for seed in SEEDS] == values
    assert manifest.metrics["spread"]["recall@5"] > 0
    written = json.loads((world.workspace / manifest.name / "metrics.json").read_text())
    assert written["spread"] == manifest.metrics["spread"] and written["counts"]["runs"] == 3
    users = pq.read_table(world.workspace / manifest.name / "per_user.parquet").to_pydict()
    each = [pq.read_table(world.workspace / one.name / "per_user.parquet").to_pydict() for one in alone]
    np.testing.assert_allclose(users["ndcg@5"], np.mean([one["ndcg@5"] for one in each], axis=0))
    low, high = manifest.metrics["intervals"]["ndcg@5"]
    assert low <= np.mean(users["ndcg@5"]) <= high
    assert summarise(found, world.workspace, name).run == manifest.run  # up to date


def test_a_group_is_compared_user_by_user(world: World) -> None:
    found, _ = evaluate_several(SEEDS[:2], world.interactions, world.workspace, k=[5])
    summarise(found, world.workspace, "group")
    other = evaluate(world.interactions, world.workspace, k=[5], checkpoint="s2")
    gap = np.mean([one.metrics["metrics"]["ndcg@5"] for one in found]) - other.metrics["metrics"]["ndcg@5"]
    difference = compare(world.workspace, "group", "s2").metrics["ndcg@5"]
    assert difference["difference"] == pytest.approx(gap)
    # The baselines are those of each run: one that is named is compared with the runs' mean.
    popular = found[0].metrics["baselines"]["popularity"]["ndcg@5"]
    gap = np.mean([one.metrics["metrics"]["ndcg@5"] for one in found]) - popular
    assert compare(world.workspace, "group", "popularity").metrics["ndcg@5"]["difference"] == pytest.approx(gap)
    assert difference["low"] <= gap <= difference["high"]


def test_several_targets_of_a_user_are_paired_by_their_history(world: World, tmp_path: Path) -> None:
    rows = [
        (user, f"i{item}", time, "train" if time < 2 else "test")
        for user, items in world.histories.items()
        for time, item in enumerate(items)
    ]
    names = ("user_id", "item_id", "timestamp", "split")
    tables.write(tmp_path / "a.parquet", dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    rows = rows[::-1]  # users in another order, so their targets too
    tables.write(tmp_path / "b.parquet", dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    first = evaluate(tmp_path / "a.parquet", world.workspace, k=[5], checkpoint="s0", name="a")
    assert first.counts["evaluated"] > 2 * len(world.histories)
    evaluate(tmp_path / "b.parquet", world.workspace, k=[5], checkpoint="s0", name="b")
    orders = [
        pq.read_table(world.workspace / f"evaluation/{name}/per_user.parquet").to_pydict()["user_id"] for name in "ab"
    ]
    assert orders[0] != orders[1]
    same = compare(world.workspace, "a", "b").metrics["ndcg@5"]
    assert same["difference"] == 0 and same["p"] == 1


def test_what_is_no_group(world: World) -> None:
    with pytest.raises(InputError, match="several checkpoints are called 's0'"):
        evaluate_several(["s0", "s0"], world.interactions, world.workspace)
    with pytest.raises(InputError, match="evaluation of a single checkpoint"):
        evaluate_several(["s0", "s1"], world.interactions, world.workspace, name="s1")
    with pytest.raises(InputError, match="nothing"):
        evaluate_several(["s0", "nothing"], world.interactions, world.workspace)
    assert not (world.workspace / "evaluation").exists()  # refused before s0 was searched
    runs = [
        evaluate(world.interactions, world.workspace, k=[k], checkpoint=seed)
        for k, seed in zip((3, 5), SEEDS, strict=False)
    ]
    with pytest.raises(InputError, match="different k"):
        summarise(runs, world.workspace, "group")


def test_the_advice_on_other_data_is_no_name_of_the_summary(world: World) -> None:
    evaluate_several(SEEDS[:2], world.interactions, world.workspace, k=[3], name="group")
    with pytest.raises(InputError, match=r"s0 was made already.*to replace it, or another --workspace to keep both"):
        evaluate_several(SEEDS[:2], world.interactions, world.workspace, k=[5], name="group")
    with pytest.raises(InputError, match="another --name or --workspace"):
        evaluate(world.interactions, world.workspace, k=[5], checkpoint="s0")


def test_counts_of_exact_searches_are_summed(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["-w", str(world.workspace), "--interactions", str(world.interactions), "--k", "3", "--beams", "3", "-q"]
    assert run(["evaluate", *SEEDS, *given, "--search", "exact", "--name", "all", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    alone = [Workspace(world.workspace).require(f"evaluation/{seed}", "").counts for seed in SEEDS]
    for key in ("users_whose_beam_missed", "semantic_ids_the_beam_missed", "prefixes_followed"):
        assert counts[key] == sum(one[key] for one in alone) > 0
    assert run(["evaluate", *SEEDS, *given, "--search", "exact", "--name", "all"]) == 0
    assert "all runs together" in capsys.readouterr().out


def test_command(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        "evaluate",
        *SEEDS,
        "-w",
        str(world.workspace),
        "--interactions",
        str(world.interactions),
        "--k",
        "5",
        "-q",
    ]
    assert run([*given, "--name", "all"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in (*SEEDS, "mean of 3 runs", "standard deviation", "item-knn"))
    assert run([*given, "--name", "all", "--json", "--compare", "s0"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["metrics"]["runs"]) == set(SEEDS) and "recall@5" in found["comparison"]["metrics"]
