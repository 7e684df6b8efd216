"""The stage: its inputs, its manifest, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.grounding.ground import ground
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import digest_path

STEPS = {"max_steps": 24, "batch_size": 8, "learning_rate": 0.02, "directions": "both", "device": "cpu"}


def test_manifest_and_plain_loading(make_world: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    world = make_world()
    manifest = ground(world.workspace, **STEPS)
    counts = manifest.counts
    assert (counts["pairs_title"], counts["pairs_description"], counts["pairs_both"]) == (12, 11, 11)
    assert counts["rows_without_description"] == 1 and counts["held_out_pairs"] == 2 and counts["train_pairs"] == 32
    assert counts["steps"] == 24 and counts["examples_seen"] == 24 * 8
    assert manifest.details["semantic_ids"] == "of-the-test" and manifest.details["model"] == "tiny"
    assert manifest.upstream.keys() == {"semantic_ids", "extended"}
    assert manifest.run["examples_per_second"] > 0
    model = AutoModelForCausalLM.from_pretrained(world.workspace / "grounded")
    tokenizer = AutoTokenizer.from_pretrained(world.workspace / "grounded")
    ids = tokenizer(world.items[3][2], add_special_tokens=False)["input_ids"]
    assert len(ids) == 2 and torch.isfinite(model(torch.tensor([ids])).logits).all()
    assert ground(world.workspace, **STEPS).digest == manifest.digest


def test_tokens_that_are_no_codes(make_world: Any, tmp_path: Path) -> None:
    world = make_world()
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(f'{{"text": "{title}", "tokens": "{tokens}"}}\n' for _, title, tokens in world.items))
    folder = tmp_path / "elsewhere"
    shutil.copytree(world.workspace / "extended", folder)
    (folder / "gti.json").unlink()
    columns = pq.read_table(folder / "new_tokens.parquet").to_pydict()
    columns["level"] = columns["code"] = [-1] * 7
    tables.write(folder / "new_tokens.parquet", columns)
    manifest = ground(tmp_path / "other", pairs=pairs, from_=str(folder), **{**STEPS, "directions": None})
    assert manifest.options["directions"] == "both"  # of words that are no codes
    assert manifest.counts["pairs_text"] == 12 and not manifest.upstream
    assert manifest.inputs.keys() == {"pairs", "checkpoint"}
    with pytest.raises(InputError, match="the new tokens are not semantic IDs"):
        ground(tmp_path / "third", from_=str(folder), **STEPS)


BAD = {
    "an option": ({"max_steps": 0}, "--max-steps is 0"),
    "name": ({"name": "../out"}, "is no plain folder name"),
    "reserved": ({"name": "extended"}, "is what gti calls another"),
    "pairs": ({"pairs": "nowhere.csv"}, "no such file"),
    "device": ({"device": "tpu"}, "unknown device"),
    "dtype": ({"dtype": "int8"}, "unknown dtype"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options(make_world: Any, case: str) -> None:
    options, message = BAD[case]
    world = make_world()
    before = digest_path(world.workspace)
    with pytest.raises(InputError, match=message):
        ground(world.workspace, **options)
    assert digest_path(world.workspace) == before


def test_everything_cannot_train_where_no_process_holds_everything(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    before = digest_path(world.workspace)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"--unfreeze-steps trains every weight.*under FSDP.*torchrun"):
        ground(world.workspace, unfreeze_steps=2, **STEPS)
    assert digest_path(world.workspace) == before


def test_refuses_its_own_source_and_edited_files(make_world: Any) -> None:
    world = make_world()
    ground(world.workspace, name="other", **STEPS)
    with pytest.raises(InputError, match="is the checkpoint to start from"):
        ground(world.workspace, from_="other", name="other", **STEPS)
    table = world.workspace / "extended" / "new_tokens.parquet"
    tables.write(table, {**pq.read_table(table).to_pydict(), "extra": np.zeros(7)})
    with pytest.raises(InputError, match="was changed after"):
        ground(world.workspace, **STEPS)


def test_other_semantic_ids(make_world: Any) -> None:
    world = make_world()
    names = ["semantic_ids.parquet", "items.parquet"]
    with Workspace(world.workspace).stage("build-ids", "semantic_ids", names, options={"n": 1}, force=True) as run:
        for name in names:
            shutil.copy(world.workspace / name, run.path(name))
        run.details.update({"sizes": [3, 4], "identity": "another"})
    with pytest.raises(InputError, match="other semantic IDs"):
        ground(world.workspace, **STEPS)


def test_own_wordings_reach_the_training(make_world: Any, tmp_path: Path) -> None:
    world = make_world()
    mine = tmp_path / "prompts.json"
    mine.write_text('{"system": "Shop.", "text->tokens": {"title": "{text}?"}}')
    ours = ground(world.workspace, **STEPS)
    theirs = ground(world.workspace, prompts=mine, **STEPS, name="other")
    assert theirs.metrics["loss_to_tokens_before"] != ours.metrics["loss_to_tokens_before"]
    assert "prompts" in theirs.inputs and "prompts" not in ours.inputs
    mine.write_text('{"text->tokens": {"title": "?"}}')
    with pytest.raises(InputError, match=r"must hold \{text\} once"):
        ground(world.workspace, prompts=mine, **STEPS, name="third")
    assert not (world.workspace / "third").exists()
