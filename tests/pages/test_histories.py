"""Single users on a page: history, target, list."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli import tables
from gti_cli.pages.catalogue import read_catalogue
from gti_cli.pages.histories import LIST_SHOWN, ShownHistories, choose_evaluation, read_histories
from gti_cli.workspace import Workspace
from tests.support.pages import TITLES, add_checkpoint, add_evaluation, add_ids, write_interactions


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    space = Workspace(tmp_path / "ws")
    add_ids(space)
    add_evaluation(
        space, "gti", add_checkpoint(space, "finetune", "gti", {}), write_interactions(tmp_path / "i.parquet")
    )
    return space


def read(space: Workspace, most: int = 20) -> ShownHistories:
    manifest = choose_evaluation(space, space.manifests())
    assert manifest is not None
    return read_histories(space, manifest, read_catalogue(space), most)


def test_hits_and_repeated_items(space: Workspace) -> None:
    shown = read(space)
    assert (shown.evaluation, shown.users, shown.list_length, shown.hits, shown.problem) == ("gti", 3, 3, 2, "")
    first, second, third = shown.shown
    assert (first.user, first.rank, second.rank, third.rank) == ("u0", 2, 1, None)
    assert [item.title for item in first.items or []] == TITLES[:3] and first.target.title == "Hat"
    assert [item.title for item in first.recommended] == ["Item 5", "Hat", TITLES[1]]
    assert [item.is_target for item in first.recommended] == [False, True, False]
    assert [item.is_repeated for item in first.recommended] == [False, False, True]
    assert third.target.title == "Item 7" and not any(item.is_target for item in third.recommended)
    assert [history.user for history in read(space, 2).shown] == ["u0", "u<2>"]


def test_a_target_far_down_the_list_is_shown_and_an_empty_list_too(space: Workspace) -> None:
    folder = space.path("evaluation/gti")
    ranks = list(range(1, 16))
    tables.write(
        folder / "recommendations.parquet",
        {"user_id": ["u0"] * 15, "rank": ranks, "item_id": [*["i8"] * 13, "i3", "i8"]},
    )
    first, second, _ = read(space).shown
    assert [item.rank for item in first.recommended] == [*ranks[:LIST_SHOWN], 14]
    assert first.rank == 14 and first.recommended[-1].is_target
    assert second.recommended == [] and second.rank is None


def test_a_table_that_is_gone_changed_or_remote_is_said(space: Workspace) -> None:
    table = space.root.parent / "i.parquet"
    tables.write(table, {"user_id": ["u0"], "item_id": ["i0"], "timestamp": [1]})
    shown = read(space)
    assert "has changed since" in shown.problem and shown.shown[0].items is None and shown.hits == 2
    table.unlink()
    assert "not there any more" in read(space).problem


def test_renamed_columns_and_items_that_are_gone(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "ws")
    add_ids(space)
    columns = {"reader": ["u0", "u0"], "item_id": ["i0", "gone"], "timestamp": [1, 2]}
    tables.write(tmp_path / "i.parquet", columns)
    place = tables.locate(tmp_path / "i.parquet", "user_id=reader")
    tables.read(place, ["user_id"])  # a stage reads the table before its manifest describes it
    add_evaluation(space, "gti", add_checkpoint(space, "finetune", "gti", {}), place)
    shown = read(space)
    assert "cannot be read" in shown.problem and "gone" in shown.problem
    assert shown.shown[0].rank == 2


def test_the_best_evaluation_is_shown(space: Workspace) -> None:
    better = add_evaluation(
        space, "b", add_checkpoint(space, "finetune", "b", {}), space.root.parent / "i.parquet", 0.75
    )
    assert choose_evaluation(space, space.manifests()) == better
    (space.path("evaluation/b") / "per_user.parquet").unlink()
    chosen = choose_evaluation(space, space.manifests())
    assert chosen is not None and chosen.name == "evaluation/gti"
    assert choose_evaluation(space, {}) is None
