"""Validation during training: when, on what, and which weights it keeps."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest
from transformers import AutoConfig

from gti_cli.prompts.conversations import encode_conversations
from gti_cli.recommendation.examples import encode_tasks
from gti_cli.recommendation.finetune import finetune
from gti_cli.recommendation.tasks import task_conversations
from gti_cli.recommendation.validation import MAX_VALIDATIONS, default_validations, ranking_prompts
from gti_cli.training.trainer import PlannedTrainer
from gti_cli.workspace.manifest import digest_path

FEW: dict[str, Any] = {"max_steps": 6, "batch_size": 16, "learning_rate": 3e-3, "device": "cpu", "dtype": "float32"}
SMALL: dict[str, Any] = {"batch_size": 64, "learning_rate": 3e-3, "device": "cpu", "dtype": "float32"}


@pytest.mark.parametrize(
    ("passes", "found"), [(0.2, 0), (3.0, 0), (3.4, 0), (3.6, 4), (10.02, 10), (500.0, MAX_VALIDATIONS)]
)
def test_default_validations(passes: float, found: int) -> None:
    assert default_validations(passes) == found


def test_a_long_run_keeps_its_best_weights(
    make_world: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    values = cycle([0.1, 0.5, 0.3, 0.2, 0.1])
    monkeypatch.setattr("gti_cli.training.callbacks.validation.Ranker.__call__", lambda *_: next(values))
    made = {
        name: finetune(world.interactions, world.workspace, name=name, **SMALL, **options)
        for name, options in {
            "short": {"epochs": 2.0},
            "long": {"epochs": 5.0},
            "never": {"epochs": 5.0, "validations": 0},
            "asked": {"epochs": 5.0, "validations": 5},
        }.items()
    }
    assert (
        "validating 5 times during training, to keep the best weights (--validations 0 keeps the last)"
        in capsys.readouterr().err
    )
    assert [made[name].counts.get("validations") for name in made] == [None, 5, None, 5]
    assert [made[name].options["validations"] for name in made] == [0, "auto", 0, 5]
    assert made["long"].metrics["valid_ndcg@10"] == 0.5
    looked = made["long"].metrics["valid_ndcg@10_by_step"]
    assert [value for _, value in looked] == [0.1, 0.5, 0.3, 0.2, 0.1]
    assert [step for step, _ in looked][1::3] == [made["long"].counts["best_step"], made["long"].counts["steps"]]
    assert made["long"].counts["best_step"] < made["long"].counts["steps"]
    digests = {name: digest_path(world.workspace / name, "gti.json") for name in made}
    assert digests["long"] == digests["asked"] != digests["never"]


def test_steps_count_as_the_passes_they_make(make_world: Any) -> None:
    world = make_world()
    made = finetune(world.interactions, world.workspace, max_steps=6, **{**SMALL, "batch_size": 512})
    assert made.metrics["epochs"] > 3.5 and made.counts["validations"] == min(round(made.metrics["epochs"]), 6)


def test_tasks_with_answers_in_words_are_not_ranked(make_world: Any) -> None:
    world = make_world()
    made = finetune(world.interactions, world.workspace, tasks=("lc-rec",), max_steps=4, **{**SMALL, "batch_size": 512})
    assert made.metrics["epochs"] > 3.5 and "validations" not in made.counts


def test_validating_changes_no_result(make_world: Any) -> None:
    world = make_world()
    options = {**FEW, "lora": True, "learning_rate": 1e-2}
    plain = finetune(world.interactions, world.workspace, name="plain", **options)
    assert "valid_ndcg@10" not in plain.metrics
    manifest = finetune(world.interactions, world.workspace, name="looking", validations=2, **options)
    assert manifest.counts["valid_users_ranked"] == manifest.counts["valid_targets_used"] > 7
    few = finetune(world.interactions, world.workspace, name="few", validations=1, rank_sample=7, **FEW)
    assert 4 <= few.counts["valid_users_ranked"] <= 7 and few.options["rank_sample"] == 7
    assert manifest.counts["validations"] == 2 and manifest.counts["best_step"] in (3, 6)
    assert manifest.counts["valid_users_ranked"] == len(world.histories)
    assert 0 < manifest.metrics["valid_ndcg@10"] <= 1
    assert manifest.metrics["train_loss"] == plain.metrics["train_loss"]


def test_best_weights_are_kept_and_patience_stops(make_world: Any, monkeypatch: Any) -> None:
    world = make_world()
    values = iter([0.3, 0.5, 0.4, 0.2])
    monkeypatch.setattr("gti_cli.training.callbacks.validation.Ranker.__call__", lambda *_: next(values))
    stopped = finetune(world.interactions, world.workspace, name="stopped", validations=6, patience=2, **FEW)
    assert (stopped.counts["best_step"], stopped.counts["steps"], stopped.counts["steps_planned"]) == (2, 4, 6)
    # What is kept is the second step's, also where training went on to the end.
    values = iter([0.3, 0.5, 0.1, 0.1, 0.1, 0.1])
    finetune(world.interactions, world.workspace, name="on", validations=6, **FEW)
    finetune(world.interactions, world.workspace, name="last", **FEW)
    digests = [digest_path(world.workspace / name / "model.safetensors") for name in ("stopped", "on", "last")]
    assert digests[0] == digests[1] != digests[2]


def test_a_run_that_stopped_early_is_not_trained_on_when_it_is_resumed(make_world: Any, monkeypatch: Any) -> None:
    world = make_world()
    options = {**FEW, "max_steps": 10, "validations": 10, "patience": 2}  # saved at every step
    values = [0.3, 0.5, 0.4, 0.2]

    def run(name: str, found: list[float]) -> Any:
        measured = iter(found)
        monkeypatch.setattr("gti_cli.training.callbacks.validation.Ranker.__call__", lambda *_: next(measured))
        return finetune(world.interactions, world.workspace, name=name, **options)

    whole = run("whole", values)
    with monkeypatch.context() as patch:
        patch.setattr("gti_cli.recommendation.train._record_training", raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            run("broken", values)
    steps: list[int] = []
    loss = PlannedTrainer.compute_loss
    monkeypatch.setattr(PlannedTrainer, "compute_loss", lambda *a, **k: (steps.append(1), loss(*a, **k))[1])
    resumed = run("broken", [])
    assert steps == [] and resumed.counts == whole.counts and resumed.counts["steps"] == 4
    assert resumed.metrics == whole.metrics
    digests = [digest_path(world.workspace / name, "gti.json") for name in ("whole", "broken")]
    assert digests[0] == digests[1]


def raise_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("tasks", "ranked"), [(("lc-rec", "search"), "search"), (("next-item", "search"), "next-item")]
)
@pytest.mark.parametrize("rank_sample", [3, 500])
def test_prompts_of_the_first_task_with_items_as_answers(
    make_world: Any, make_job: Any, tasks: tuple[str, ...], ranked: str, rank_sample: int
) -> None:
    world = make_world()
    job = make_job(world, tasks, rank_sample=rank_sample)
    examples = encode_tasks(job, AutoConfig.from_pretrained(job.checkpoint.path), world.workspace / "work")
    name, prompts, target_rows = ranking_prompts(job, examples)
    assert name == ranked and len(prompts) == len(target_rows) <= rank_sample
    # Each prompt is that of the conversation, and its target the item that the conversation answers with.
    task = next(task for task in job.tasks if task.name == ranked)
    everything = list(task_conversations(replace(task, train=task.valid), job.data.catalogue.tokens))
    step = math.ceil(len(everything) / rank_sample)
    expected = encode_conversations(job.tokenizer, everything[::step])
    assert prompts == [example.prompt for example in expected]
    tokens = job.data.catalogue.tokens
    assert [tokens[row] for row in target_rows] == [conversation.assistant for conversation in everything[::step]]
