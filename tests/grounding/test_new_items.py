"""`ground --items`: which rows train, that no other weight changes, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.grounding.ground import ground
from gti_cli.grounding.new_items import read_new_items
from gti_cli.tables.cold_start.held_out_items import HeldOutItems, read_held_out
from gti_cli.workspace.manifest import digest_path

STEPS = {"max_steps": 3, "batch_size": 4, "learning_rate": 0.02, "device": "cpu"}


def write(folder: Path, *numbers: int) -> Path:
    path = folder / "new.parquet"
    tables.write(path, {"item_id": [f"i{n}" for n in numbers]})
    return path


def test_rows_of_older_items_stay_bit_for_bit(make_world: Any, tmp_path: Path) -> None:
    world = make_world("phi", tied=False)  # an output head of its own, with a bias
    held = HeldOutItems(frozenset(["i8"]), frozenset(["i9"]))
    start = (world.workspace / "extended").rename(tmp_path / "start")
    held.write(start)
    # Items 8 to 11 are all that have the third code of the first level; their other codes are those of older items.
    manifest = ground(world.workspace, from_=str(start), items=write(tmp_path, 8, 9, 10, 11), **STEPS)
    before, after = (load_file(folder / "model.safetensors") for folder in (start, world.workspace / "grounded"))
    new = int(world.tokens.ids[2])
    changed = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert changed == {"model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"}
    for name in changed:
        places = (before[name] != after[name]).reshape(len(before[name]), -1).any(1).nonzero().flatten().tolist()
        assert places == [new], name
    assert (manifest.counts["new_items"], manifest.counts["rows_trained"]) == (4, 1)
    assert manifest.counts["pairs_title"] == 4 and manifest.counts["tokens_without_pair"] == 0
    moved = (before["model.embed_tokens.weight"] - after["model.embed_tokens.weight"])[new]
    assert manifest.metrics["rows_moved"] == pytest.approx(float(moved.square().mean().sqrt()), rel=1e-4)
    assert manifest.metrics["effective_rank"] > 1  # of all new rows, as always
    # A split by items of the start is that of the result.
    assert read_held_out(world.workspace / "grounded") == held
    assert manifest.details["held_out_items"] == held.recorded()


def test_which_rows_are_new(make_world: Any, tmp_path: Path) -> None:
    world = make_world()
    catalogue = tables.read_semantic_ids(world.workspace / "semantic_ids.parquet")
    found = read_new_items(write(tmp_path, *range(12)), catalogue, world.tokens)
    np.testing.assert_array_equal(found.rows, np.arange(7))  # there is no older item at all
    # Column 3 of all colours, and the last colour.
    found = read_new_items(write(tmp_path, 3, 7, 8, 9, 10, 11), catalogue, world.tokens)
    assert [world.tokens.names[row] for row in found.rows] == ["<a_2>", "<b_3>"]


@pytest.mark.parametrize(
    ("numbers", "options", "message"),
    [
        ((3, 4), {}, "all codes of these 2 items stand in other items, too"),
        ((8, 40), {}, "items without a semantic ID: 'i40'"),
        ((8,), {"lora": True}, "against --lora"),
        ((8,), {"unfreeze_steps": 2}, "against --unfreeze-steps"),
        ((8,), {"objective": "distil"}, "against --objective distil"),
        ((8,), {"pairs": "items.csv"}, "against --pairs"),
    ],
)
def test_refused_before_anything_is_written(
    make_world: Any, tmp_path: Path, numbers: tuple[int, ...], options: dict[str, Any], message: str
) -> None:
    world = make_world()
    before = digest_path(world.workspace)
    with pytest.raises(InputError, match=message):
        ground(world.workspace, items=write(tmp_path, *numbers), **options)
    assert digest_path(world.workspace) == before
