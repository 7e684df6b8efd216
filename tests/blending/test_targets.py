"""Which targets a blend is chosen by, and what its members know, where items are held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gti_cli.app import run
from gti_cli.blending.blend import blend
from gti_cli.blending.options import BlendOptions
from gti_cli.blending.targets import check_tuning, choose_targets
from gti_cli.errors import InputError
from gti_cli.tables.cold_start.held_out_items import HeldOutItems, read_held_out
from gti_cli.tables.histories import History, Interactions
from gti_cli.workspace import Workspace
from tests.support.evaluation import add_checkpoint, make_world

USERS = {"a": ["1", "T", "2", "3"], "b": ["1", "V", "2", "1"], "c": ["2", "3", "V", "1"], "d": ["2", "1", "V", "T"]}
HELD = HeldOutItems(frozenset("T"), frozenset("V"))
ROW_OF = {"1": 0, "2": 1, "3": 2, "T": 3, "V": 4}


def test_targets_of_a_split() -> None:
    table = Interactions(USERS, None, "a table")
    data = choose_targets(table, HELD, BlendOptions(), "a table")
    assert [(entry.items, entry.target) for entry in data.entries] == [
        (["1"], "2"),
        (["1", "V"], "2"),
        (["2", "3"], "V"),
        (["2", "1"], "V"),
    ]
    assert data.splits.train == {"a": ["1"], "b": ["1"], "c": ["2", "3"], "d": ["2", "1"]} and data.hidden == {"T", "V"}
    allowed = data.allowed(ROW_OF)
    assert allowed is not None and allowed.tolist() == [True, True, True, False, True]
    new = choose_targets(table, HELD, BlendOptions(targets="new"), "a table")
    assert new.entries == new.cold_valid == [History("c", ["2", "3"], "V"), History("d", ["2", "1"], "V")]
    balanced = choose_targets(table, HELD, BlendOptions(targets="balanced"), "a table")
    assert [entry.target for entry in balanced.entries] == ["V", "V", "2", "2"]
    plain = choose_targets(table, None, BlendOptions(), "a table")
    assert plain.allowed(ROW_OF) is None and len(plain.entries) == 4 and not plain.cold_valid


def test_baselines_without_a_target_to_be_tuned_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Every validation item is held out: item-knn keeps its untuned settings, and sasrec cannot be trained."""
    users = {"c": ["2", "3", "V", "1"], "d": ["2", "1", "V", "3"]}
    data = choose_targets(Interactions(users, None, ""), HELD, BlendOptions(targets="new"), "a table")
    check_tuning(["popularity", "item-knn"], data)
    assert "item-knn is not tuned: no validation target is an item that it may learn" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"no validation target is an item that sasrec may learn.*Leave sasrec out"):
        check_tuning(["sasrec"], data)
    check_tuning(["sasrec", "item-knn"], choose_targets(Interactions(USERS, None, ""), HELD, BlendOptions(), ""))


def test_too_few_new_targets(capsys: pytest.CaptureFixture[str]) -> None:
    only_test = HeldOutItems(frozenset("T"), frozenset())
    choose_targets(Interactions(USERS, None, ""), only_test, BlendOptions(), "a table")
    assert "the blend cannot learn how to treat new items" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"0 validation targets with held-out items.*Use --targets all"):
        choose_targets(Interactions(USERS, None, ""), only_test, BlendOptions(targets="new"), "a table")


def test_a_blend_of_members_with_a_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(tmp_path)
    space = Workspace(world.workspace)
    complete = [items for items in world.histories.values() if len(items) > 2]
    test = frozenset(f"i{items[-1]}" for items in complete[:3])
    held = HeldOutItems(test, frozenset(f"i{items[-2]}" for items in complete) - test)
    add_checkpoint(space, space.manifest("semantic_ids"), "cold", also=held.write)
    table, of = str(world.interactions), ["cold", "item-knn"]
    manifest = blend(of, table, world.workspace, list_length=26, dtype="float32", targets="new")
    assert read_held_out(space.path("blend")) == held and manifest.details["held_out_items"] == held.recorded()
    # What is held out for the test is in no list: of 26 items, item-knn and the model list no other.
    assert manifest.counts["candidates"] == manifest.counts["targets_used"] * (26 - len(held.test))
    arguments = ["-w", str(world.workspace), "--interactions", table]
    assert run(["evaluate", "blend", *arguments, "--hold-out-items", "--k", "5", "--baselines", "popularity"]) == 0
    evaluation = space.manifest("evaluation/blend")
    assert evaluation is not None and evaluation.options["held_out_items"] == held.recorded()
    assert set(evaluation.metrics["without"]) == {"cold", "item-knn"}
    assert np.isfinite(evaluation.metrics["other_targets"]["metrics"]["recall@5"])
    capsys.readouterr()
    assert run(["blend", "--of", "cold,finetuned", *arguments]) == 2
    assert "'cold', 'finetuned' were trained with different items held out" in capsys.readouterr().err
    assert run(["blend", "--of", "finetuned,item-knn", "--targets", "new", *arguments]) == 2
    assert "--targets new is about items that the members never saw" in capsys.readouterr().err
