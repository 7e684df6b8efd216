"""What the stage refuses, before anything is loaded or written, and what its command prints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from gti_cli.app import run as gti
from gti_cli.errors import InputError
from gti_cli.recommendation.finetune import finetune
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import digest_path

BAD = {
    "option": ({"max_steps": 0}, "--max-steps is 0"),
    "name": ({"name": "../out"}, "is no plain folder name"),
    "own source": ({"name": "grounded"}, "is the checkpoint to start from"),
    "reserved": ({"name": "semantic_ids"}, "is what gti calls another"),
    "source": ({"from_": "nowhere/at/all"}, "no such folder"),
    "device": ({"device": "tpu"}, "unknown device"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_change_nothing(make_world: Any, case: str) -> None:
    options, message = BAD[case]
    world = make_world()
    before = digest_path(world.workspace)
    with pytest.raises(InputError, match=message):
        finetune(world.interactions, world.workspace, **options)
    assert digest_path(world.workspace) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id,item_id,timestamp\nu,i0,1\nu,nothing,2\n", "items without a semantic ID: 'nothing'"),
        ("user_id,item_id,timestamp\nu,i0,1\nv,i1,2\n", "no user can be evaluated"),
        ("user_id,item_id,timestamp\nu,i0,1\nu,i1,2\nu,i2,3\n", "no user has two interactions to train on"),
        ("user_id,item_id\nu,i0\n", "column 'timestamp' is missing"),
        ("", "cannot be read as csv"),
    ],
)
def test_bad_interactions_end_with_one_line_and_code_2(make_world: Any, capsys: Any, text: str, message: str) -> None:
    world = make_world()
    table = world.interactions.with_name("bad.csv")
    table.write_text(text)
    before = digest_path(world.workspace)
    capsys.readouterr()
    assert gti(["finetune", "--interactions", str(table), "-w", str(world.workspace), "-q"]) == 2
    said = capsys.readouterr()
    assert message in said.err and len(said.err.strip().splitlines()) == 1 and not said.out
    assert digest_path(world.workspace) == before


def test_checkpoint_without_new_tokens(make_world: Any, make_checkpoint: Any) -> None:
    world = make_world()
    with pytest.raises(InputError, match="no new tokens that gti knows of"):
        finetune(world.interactions, world.workspace, from_=str(make_checkpoint()))


def test_a_model_that_reads_padding_as_text_is_refused(make_world: Any) -> None:
    world = make_world()
    config = world.workspace / "grounded" / "config.json"
    copy = world.workspace.parent / "rwkv"
    shutil.copytree(config.parent, copy)
    AutoConfig.for_model("rwkv").save_pretrained(copy)
    before = digest_path(world.workspace)
    with pytest.raises(InputError, match="rwkv takes no key-value cache"):
        finetune(world.interactions, world.workspace, from_=str(copy))
    assert digest_path(world.workspace) == before


def test_checkpoint_of_other_semantic_ids(make_world: Any) -> None:
    world = make_world()
    with Workspace(world.workspace).stage(
        "build-ids", "semantic_ids", ["semantic_ids.parquet"], options={"other": 1}, force=True
    ) as run:
        shutil.copy(world.workspace / "semantic_ids.parquet", run.path("semantic_ids.parquet"))
        run.details.update({"sizes": [4, 3, 5], "identity": "another"})
    with pytest.raises(InputError, match="other semantic IDs"):
        finetune(world.interactions, world.workspace)


def test_missing_stages_say_what_to_run(tmp_path: Path, make_world: Any) -> None:
    world = make_world()
    with pytest.raises(InputError, match="gti build-ids"):
        finetune(world.interactions, tmp_path / "empty")


def test_command_prints_a_table_or_json(make_world: Any, capsys: Any) -> None:
    world = make_world()
    command = ["finetune", "--interactions", str(world.interactions), "-w", str(world.workspace)]
    command += ["--max-steps", "3", "--batch-size", "8", "--device", "cpu", "--from", "grounded", "--name", "a"]
    assert gti(command) == 0
    said = capsys.readouterr()
    assert "validation loss" in said.out and "next-item" in said.out and "Fine-tuning" in said.err
    # The question stands beside the weights.
    asked = json.loads((world.workspace / "a" / "gti_prompt.json").read_text())
    assert len(asked["next-item"]["wordings"]) == 3 and asked["next-item"]["history"] == 20 and "search" not in asked
    assert asked["item"]["codes"] == ["<a_{}>", "<b_{}>", "<c_{}>"]
    assert gti([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["steps"] == 3
