"""The training examples of a run: their tokens, their plan, their packing, and the check of their length."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoConfig

from gti_cli.errors import InputError
from gti_cli.prompts.conversations import encode_conversations
from gti_cli.prompts.examples import Example
from gti_cli.recommendation.examples import TaskExamples, encode_tasks, pack_histories
from gti_cli.recommendation.finetune import finetune
from gti_cli.recommendation.job import FinetuneJob
from gti_cli.recommendation.tasks import task_conversations
from gti_cli.training.batches.history_examples import single_target_examples
from tests.support.models import make_model

FEW: dict[str, Any] = {"max_steps": 6, "batch_size": 16, "learning_rate": 3e-3, "device": "cpu", "dtype": "float32"}


def test_trees_and_separate_examples_train_alike(make_world: Any, monkeypatch: Any, capsys: Any) -> None:
    world = make_world()
    # All targets in every step: the order of the batches cannot differ.
    options = {**FEW, "max_steps": 3, "batch_size": 10_000, "history": 5}
    trees = finetune(world.interactions, world.workspace, name="trees", **options)
    monkeypatch.setattr("gti_cli.training.answer_loss.supports_tree_mask", lambda *_: False)
    capsys.readouterr()
    apart = finetune(world.interactions, world.workspace, name="apart", **options)
    assert "does not take the mask of history trees" in capsys.readouterr().err
    assert (trees.details["packing"], apart.details["packing"]) == ("history trees", "separate examples")
    assert trees.counts["targets_seen"] == apart.counts["targets_seen"] == 3 * trees.counts["train_targets"]
    assert trees.counts["tokens_seen"] < apart.counts["tokens_seen"] / 2
    for metric in ("train_loss", "valid_loss", "new_rows_moved"):
        assert trees.metrics[metric] == pytest.approx(apart.metrics[metric], rel=1e-4)


def test_histories_longer_than_the_models_positions_are_refused(make_world: Any) -> None:
    world = make_world()
    folder = world.workspace.parent / "short"
    shutil.copytree(world.workspace / "grounded", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 135}))
    with pytest.raises(InputError, match=r"more than the 135 positions .* --history \d+ or fewer") as error:
        finetune(world.interactions, world.workspace, from_=str(folder), **FEW)
    fits = int(str(error.value).rpartition("--history ")[2].split()[0])
    finetune(world.interactions, world.workspace, from_=str(folder), history=fits, **FEW)
    with pytest.raises(InputError, match="more than the 135 positions"):
        finetune(world.interactions, world.workspace, from_=str(folder), name="b", history=fits + 1, **FEW)


def encode(job: FinetuneJob) -> TaskExamples:
    path = job.checkpoint.path
    return encode_tasks(job, AutoConfig.from_pretrained(path), Path(path).parent / "work")


def test_a_plan_counts_the_examples_in_the_order_of_all_tasks(make_world: Any, make_job: Any) -> None:
    job = make_job(make_world(), ("search", "next-item"))
    examples = encode(job)
    everything = examples.all_train()
    assert list(examples.train) == list(examples.valid) == ["search", "next-item"]
    assert list(everything) == [*examples.train["search"], *examples.histories]
    plan = examples.plan({"search": 1.0, "next-item": 3.0}, size=8, epochs=1.0, max_steps=5, seed=0)
    for step, targets, search, tokens in zip(plan, plan.targets, plan.by_task["search"], plan.tokens, strict=True):
        batch = [everything[number] for number in step]
        assert targets == sum(map(examples.collator.target_count, batch))
        assert search == sum(isinstance(example, Example) for example in batch) == 2
        assert tokens == sum(map(examples.collator.token_count, batch))


def test_prompts_and_answers_are_those_of_the_chat_template(make_world: Any, make_job: Any) -> None:
    """A history example's tokens are what the tokenizer makes of its conversation."""
    job = make_job(make_world(), ("next-item", "search"), wordings=2, history=4)
    examples, (task, _) = encode(job), job.tasks
    layout = examples.collator.layout
    assert len(layout.other_frames) == 1 and {example.wording for example in examples.histories} == {0, 1}
    singles = [single for example in examples.histories for single in single_target_examples(example)]
    conversations = list(task_conversations(task, job.data.catalogue.tokens))
    for single, expected in zip(singles, encode_conversations(job.tokenizer, conversations), strict=True):
        assert layout.prompt(single) == expected.prompt
        assert [*layout.item_token_ids[single.items[-1]].tolist(), layout.end_id] == expected.answer


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize(
    ("supported", "packing", "most_targets", "equal_cost"),
    [
        ([True], "history trees", 4, True),
        ([False, True], "history trees, one in a row", 4, False),
        ([False, False], "separate examples", 1, False),
    ],
)
def test_the_densest_form_that_the_model_supports(
    make_world: Any,
    make_job: Any,
    monkeypatch: Any,
    tmp_path: Path,
    in_file: bool,
    supported: list[bool],
    packing: str,
    most_targets: int,
    equal_cost: bool,
) -> None:
    job = make_job(make_world(), ("next-item", "search"), history=4)
    if in_file:
        monkeypatch.setattr("gti_cli.training.batches.stored_examples.SHARE_OF_MEMORY", 0.0)
    examples = encode(job)
    before = [single for example in examples.histories for single in single_target_examples(example)]
    answers = iter(supported)
    monkeypatch.setattr("gti_cli.training.answer_loss.supports_tree_mask", lambda *_: next(answers))
    run = SimpleNamespace(details={}, work=tmp_path)
    pack_histories(job, make_model("qwen3", 64), examples, run)  # type: ignore[arg-type]
    assert run.details == {"packing": packing} and next(answers, None) is None
    assert max(example.target_count for example in examples.histories) == most_targets
    assert bool(examples.collator.layout.equal_cost_length) == equal_cost
    assert [single for example in examples.histories for single in single_target_examples(example)] == before
    assert examples.kept_in() == {"next-item": "memory", "search": "memory-mapped Arrow" if in_file else "memory"}


def test_last_targets_need_no_mask(make_world: Any, make_job: Any, monkeypatch: Any, tmp_path: Path) -> None:
    job = make_job(make_world(), ("next-item", "search"), targets="last")
    examples, run = encode(job), SimpleNamespace(details={})
    monkeypatch.setattr("gti_cli.training.answer_loss.supports_tree_mask", None)  # calling it fails
    pack_histories(job, make_model("qwen3", 64), examples, run)  # type: ignore[arg-type]
    assert run.details == {"packing": "separate examples"}
