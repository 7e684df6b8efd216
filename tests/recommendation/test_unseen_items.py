"""`finetune --hold-out-items`: what trains, what is written, and which starts are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gti_cli.app import run as gti
from gti_cli.checkpoints.finding import find_checkpoint
from gti_cli.checkpoints.loading import load_tokenizer
from gti_cli.errors import InputError
from gti_cli.prompts import lc_rec
from gti_cli.prompts.conversations import Conversation
from gti_cli.recommendation.finetune import finetune
from gti_cli.recommendation.options import TaskOptions
from gti_cli.recommendation.task_data import read_task_data
from gti_cli.recommendation.tasks import make_tasks
from gti_cli.recommendation.unseen_items import check_unseen
from gti_cli.tables.cold_start.held_out_items import HeldOutItems, read_held_out
from gti_cli.training.batches.history_examples import HistoryExample
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import digest_path


def test_no_example_has_a_held_out_item(make_world: Any) -> None:
    world = make_world()
    data = read_task_data(
        Workspace(world.workspace), world.interactions, world.queries, ("next-item", "search", "lc-rec"), hold_out=0.1
    )
    held = data.held_out
    assert held is not None and (len(held.test), len(held.valid)) == (3, 2)
    rows = {int(item[1:]) for item in held.all}
    tokens = {data.catalogue.tokens[row] for row in rows}
    tasks = make_tasks(data, load_tokenizer(str(world.workspace / "grounded")), TaskOptions(history=6), 0)
    kinds = set()
    for example in [example for task in tasks for example in (*task.train, *task.valid)]:
        if isinstance(example, HistoryExample):
            assert not rows & set(example.items)
            continue
        assert isinstance(example, Conversation)
        kinds.add(example.kind)
        if example.kind in (lc_rec.TEXT_TO_ITEM, lc_rec.ITEM_TO_TEXT):
            continue  # an item's own text says nothing about who wanted it
        words = f"{example.user}\n{example.assistant}"
        assert not any(token in words for token in tokens), words
        assert not rows & set(map(int, re.findall(r"dress number (\d+)", words))), words
    assert kinds == {"search", lc_rec.TEXT_TO_ITEM, lc_rec.ITEM_TO_TEXT, lc_rec.TITLES_TO_ITEM, lc_rec.ITEMS_TO_TITLE}
    taken = sum(f"i{row}" in held.all for items in world.histories.values() for row in items[:-2])
    assert data.counts["held_out_train_interactions"] == taken > 0
    assert data.counts["held_out_search_pairs"] > 0


def test_the_checkpoint_holds_the_split(make_world: Any, capsys: Any, tmp_path: Path) -> None:
    world = make_world()
    command = ["finetune", "--interactions", str(world.interactions), "-w", str(world.workspace), "--batch-size", "8"]
    command += ["--max-steps", "2", "--device", "cpu", "--name", "cold", "--valid-sample", "2"]
    assert gti([*command, "--hold-out-items", "0.1"]) == 0
    assert "3 items are held out for the test and 2 for validation" in capsys.readouterr().err
    held = read_held_out(world.workspace / "cold")
    assert held is not None
    manifest = Workspace(world.workspace).manifest("cold")
    assert manifest is not None
    assert manifest.options["hold_out_items"] == 0.1
    assert manifest.options["held_out_sha256"] == held.recorded()["sha256"]
    assert manifest.details["held_out_items"] == held.recorded()
    card = (world.workspace / "cold/README.md").read_text("utf-8")
    assert "| held-out items | 5, listed in `gti_held_out_items.parquet`: no interaction" in card
    before = digest_path(world.workspace / "cold")
    assert gti([*command, "--hold-out-items", "0.1"]) == 0
    assert "is up to date" in capsys.readouterr().err and digest_path(world.workspace / "cold") == before
    # A seed of the training leaves the split as it is; another split is another run.
    assert gti([*command, "--hold-out-items", "0.1", "--seed", "4"]) == 2
    assert "held_out" not in capsys.readouterr().err
    assert gti([*command, "--hold-out-items", "0.2"]) == 2
    assert "held_out_sha256" in capsys.readouterr().err


def test_starts_that_know_the_items_are_refused(make_world: Any) -> None:
    world = make_world()
    space = Workspace(world.workspace)
    start = find_checkpoint(space, None, "grounded", "")
    held = HeldOutItems(frozenset(["i1", "i2"]), frozenset(["i3"]))
    check_unseen(space, start, held)  # trained on texts alone
    HeldOutItems(frozenset(["i1"]), frozenset(["i2", "i3", "i4"])).write(Path(start.path))
    check_unseen(space, start, held)
    HeldOutItems(frozenset(["i1"]), frozenset(["i3"])).write(Path(start.path))
    with pytest.raises(InputError, match="was fine-tuned on interactions with 1 of the held-out items"):
        check_unseen(space, start, held)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hold_out_items": 0.9}, "is no share of the items"),
        ({"hold_out_items": "0.01"}, "holds out 0 and 0 of 30 items"),
        ({"hold_out_items": "nowhere.parquet"}, "nowhere.parquet"),
        ({"hold_out_items": 0.1, "interactions": None}, "hides interactions with items, and there are none"),
    ],
)
def test_bad_splits_write_nothing(make_world: Any, options: dict[str, Any], message: str) -> None:
    world = make_world()
    before = digest_path(world.workspace)
    given = {"interactions": world.interactions, "queries": world.queries, "workspace": world.workspace, **options}
    with pytest.raises(InputError, match=message):
        finetune(**given)
    assert digest_path(world.workspace) == before
