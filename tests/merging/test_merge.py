"""Merged adapters as checkpoints of the workspace."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from gti_cli.cards.results import find_evaluations
from gti_cli.cards.trained_tasks import trained_tasks
from gti_cli.checkpoints.finding import find_checkpoint
from gti_cli.errors import InputError
from gti_cli.merging.merge import merge
from gti_cli.prompts.prompt_file import PROMPT_FILE
from gti_cli.workspace import Workspace
from tests.support.adapters import IDS, write_adapter
from tests.support.diagnostics import make_extended


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """A workspace with a checkpoint ``tuned``, which knows its prompt."""
    space = Workspace(tmp_path / "w")
    with space.stage("finetune", "tuned", ["tuned"], options={"history": 7}, checkpoint=True) as run:
        make_extended(run.path("tuned"), tied=True)
        (run.path("tuned") / PROMPT_FILE).write_text('{"format": 1}', "utf-8")
        run.details.update(semantic_ids="ids", base_vocab=384)
    return space


def test_a_merged_checkpoint_is_whole_and_says_where_it_comes_from(space: Workspace, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    expected = write_adapter(space.path("tuned"), tmp_path / "adapter", modules_to_save=["embed_tokens"])
    manifest = merge(tmp_path / "adapter", "merged", space.root)
    folder = space.path("merged")
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(folder)(input_ids=IDS).logits
    assert float((logits - expected).abs().max()) < 1e-4
    source, made = (find_checkpoint(space, name, "x", "y") for name in ("tuned", "merged"))
    vocabulary = AutoTokenizer.from_pretrained(source.path).get_vocab()
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == vocabulary
    assert made.new_tokens().names == source.new_tokens().names
    assert made.history_length(None, "--history", 20) == 7
    assert json.loads((folder / PROMPT_FILE).read_text("utf-8")) == {"format": 1}
    assert "an adapter (PEFT, LORA)" in " ".join((folder / "README.md").read_text("utf-8").split())
    assert manifest.details["tied"] is False and manifest.details["semantic_ids"] == "ids"
    assert list(manifest.upstream) == ["tuned"] and list(manifest.inputs) == ["checkpoint"]
    assert trained_tasks(space, made) is None  # nobody knows what the adapter learned
    assert merge(tmp_path / "adapter", "merged", space.root).run == manifest.run  # a second run has nothing to do


def test_an_evaluation_of_the_adapter_is_not_one_of_its_base(space: Workspace, tmp_path: Path) -> None:
    write_adapter(space.path("tuned"), tmp_path / "adapter")
    base = find_checkpoint(space, "tuned", "x", "y")
    adapter = find_checkpoint(space, str(tmp_path / "adapter"), "x", "y", adapters=True)
    for name, checkpoint in (("evaluation/tuned", base), ("evaluation/adapter", adapter)):
        with space.stage(
            "evaluate", name, [name], options={}, inputs=checkpoint.inputs(), upstream=checkpoint.upstream()
        ) as run:
            run.path(name).mkdir(parents=True)
            run.metrics["metrics"] = {"recall@10": 0.5}
    assert [evaluation.name for evaluation in find_evaluations(space, base)] == ["evaluation/tuned"]


def test_what_cannot_be_merged_is_refused_before_anything_is_written(space: Workspace, tmp_path: Path) -> None:
    write_adapter(space.path("tuned"), tmp_path / "adapter")
    with pytest.raises(InputError, match="--merge-into is for adapters"):
        merge("tuned", "merged", space.root)
    for name, message in (("tuned", "is the checkpoint to start from"), ("a/b", "is no plain folder name")):
        with pytest.raises(InputError, match=f"--merge-into {name!r} {message}"):
            merge(tmp_path / "adapter", name, space.root)
    shutil.copytree(space.path("tuned"), space.path("other"))
    with pytest.raises(InputError, match="--merge-into 'other' is a checkpoint that 'gti finetune' wrote"):
        merge(tmp_path / "adapter", "other", space.root, force=True)
    assert not space.path("merged").exists()
