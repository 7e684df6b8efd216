"""`--hold-out-items`: which targets are reported, what the baselines know, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gti_cli.app import run
from gti_cli.cards.results import describe_evaluation, hub_results
from gti_cli.errors import InputError
from gti_cli.evaluation.cold_start import split_of_all
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.evaluation.plot import title_of
from gti_cli.tables.cold_start.held_out_items import HeldOutItems
from gti_cli.workspace import Workspace
from tests.support.evaluation import World, add_checkpoint, item_scores, make_world

K = 10


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def hold_out(world: World, name: str = "finetuned", tests: int = 4) -> HeldOutItems:
    """Give a checkpoint a split that holds out the test items of some users, and one validation item."""
    complete = [items for items in world.histories.values() if len(items) > 2]
    test = {f"i{items[-1]}" for items in complete[:tests]}
    valid = next(f"i{items[-2]}" for items in complete[tests:] if f"i{items[-2]}" not in test)
    held = HeldOutItems(frozenset(test), frozenset([valid]))
    space = Workspace(world.workspace)
    shutil.rmtree(space.path(name), ignore_errors=True)
    ids = space.manifest("semantic_ids")
    add_checkpoint(space, ids, name, also=held.write)
    return held


def test_figures_are_those_of_users_with_held_out_targets(world: World) -> None:
    held = hold_out(world)
    scores = item_scores(world)
    hits: dict[bool, list[float]] = {True: [], False: []}
    for user, values in scores.items():
        target = world.histories[user][-1]
        if f"i{target}" in held.valid:
            continue  # neither new to an evaluation nor known
        alike = (world.codes == world.codes[target]).all(axis=1)
        ahead = int((values[~alike] > values[target]).sum())
        hit = float(np.clip(K - ahead, 0, alike.sum()) / alike.sum())
        hits[f"i{target}" in held.test].append(hit)
    manifest = evaluate(
        world.interactions, world.workspace, k=[5, K], beams=40, hold_out_items=True, dtype="float32", name="cold"
    )
    assert manifest.metrics["metrics"][f"recall@{K}"] == pytest.approx(np.mean(hits[True]))
    assert manifest.metrics["other_targets"]["metrics"][f"recall@{K}"] == pytest.approx(np.mean(hits[False]))
    assert (manifest.counts["evaluated"], manifest.counts["other_targets"]) == (len(hits[True]), len(hits[False]))
    assert manifest.options["held_out_items"] == held.recorded()
    assert "with held-out items (test part)" in title_of(manifest)
    assert "targets are items that were held out of training" in describe_evaluation(manifest).settings
    assert {result.dataset_split for result in hub_results(manifest)} == {"test, held-out items"}
    table = pq.read_table(world.workspace / "evaluation/cold/per_user.parquet")
    assert set(table.column("target").to_pylist()) <= held.test
    # No interaction with these items has taught a baseline anything.
    assert table.column("target_training_interactions").to_pylist() == [0] * len(hits[True])
    for name in ("popularity", "item-knn", "item-knn (untuned)"):
        assert manifest.metrics["baselines"][name][f"recall@{K}"] == 0
        assert manifest.metrics["other_targets"]["baselines"][name][f"recall@{K}"] > 0


def test_an_ordinary_evaluation_says_what_was_never_seen(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="it was trained on all items: none is held out"):
        evaluate(world.interactions, world.workspace, k=[5], hold_out_items=True)
    held = hold_out(world)
    manifest = evaluate(world.interactions, world.workspace, k=[5])
    assert manifest.details["never_seen_items"] == held.recorded() and "other_targets" not in manifest.metrics
    assert f"finetuned never saw an interaction with {len(held.all)} items" in capsys.readouterr().err
    command = ["evaluate", "-w", str(world.workspace), "--k", "5", "--interactions", str(world.interactions)]
    assert run([*command, "--name", "cold", "--hold-out-items", "--compare", "finetuned"]) == 2
    assert "'cold' was evaluated with held_out_items {" in capsys.readouterr().err


def test_checkpoints_with_different_splits_are_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    held = hold_out(world)
    hold_out(world, "again")
    hold_out(world, "other", tests=3)
    space = Workspace(world.workspace)
    assert split_of_all(space, ["finetuned", "again"]) == {"held_out_items": held.recorded()}
    command = ["evaluate", "finetuned", "again", "-w", str(world.workspace), "--interactions", str(world.interactions)]
    assert run([*command, "other", "--hold-out-items", "--k", "5"]) == 2
    assert "'finetuned', 'other' were trained with different items held out" in capsys.readouterr().err
    assert not space.path("evaluation").exists()
    assert run([*command, "--hold-out-items", "--k", "5", "--baselines", "popularity"]) == 0
    said = capsys.readouterr().out
    assert "users whose target is held out," in said
    assert "Cold starts: 4 items are held out for the test and 1 for validation" in said
    assert "The other" in said and "targets, which are not held out" in said


def test_a_table_without_these_items(world: World, tmp_path: Path) -> None:
    hold_out(world)
    table = pq.read_table(world.interactions)
    kept = [user in list(world.histories)[10:11] for user in table.column("user_id").to_pylist()]
    pq.write_table(table.filter(kept), tmp_path / "few.parquet")
    with pytest.raises(InputError, match="no test target is one of the 4 items that the checkpoint holds out"):
        evaluate(tmp_path / "few.parquet", world.workspace, k=[2], hold_out_items=True)
