"""Options of fine-tuning: which values are refused, and which the manifest records."""

from __future__ import annotations

import itertools
from dataclasses import fields
from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.recommendation.options import PRIORS, FinetuneOptions


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_steps": 0}, "--max-steps is 0"),
        ({"epochs": -1.0}, "--epochs is -1"),
        ({"epochs": float("inf")}, "--epochs is inf"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"micro_batch": 0}, "--micro-batch is 0"),
        ({"learning_rate": float("nan")}, "--learning-rate is nan"),
        ({"rows_learning_rate": 0.0}, "--rows-learning-rate is 0"),
        ({"lora_dropout": 1.0}, "--lora-dropout is 1"),
        ({"targets": "some"}, "--targets is 'some'"),
        ({"history": 0}, "--history is 0"),
        ({"wordings": 4}, "--wordings is 4"),
        ({"valid_sample": 0}, "--valid-sample is 0"),
        ({"validations": -1}, "--validations is -1"),
        ({"patience": 3}, "--patience has no effect without validations"),
        ({"patience": 3, "epochs": 9, "max_steps": 9}, "--patience has no effect without validations"),
        ({"lora_r": 4}, "--lora-r has no effect without --lora. Add --lora, or leave it out"),
        ({"lora_dropout": 0.0}, "--lora-dropout has no effect without --lora"),
        ({"prior": "item-knn+item-knn"}, "--prior is 'item-knn"),
        ({"prior": "item-knn+"}, "--prior is 'item-knn+'"),
        ({"prior": "none+sasrec"}, "--prior is 'none"),
        ({"patience": 3, "validations": 0}, "--patience has no effect without validations"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as raised:
        FinetuneOptions(**values).check()
    assert message in str(raised.value)


def test_values_at_the_edge_are_accepted() -> None:
    FinetuneOptions().check()
    FinetuneOptions(epochs=0.1, wordings=1, lora=True, lora_dropout=0.0, validations=0, batch_size=1).check()
    FinetuneOptions(epochs=4, patience=2).check()  # more than three epochs are validated by default
    FinetuneOptions(validations=1, patience=1, max_steps=1, history=1).check()


def test_a_step_is_divided_among_processes_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FinetuneOptions(batch_size=12).targets_per_process == 12
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert FinetuneOptions(batch_size=12).targets_per_process == 4
    FinetuneOptions(batch_size=12).check()
    with pytest.raises(InputError, match=r"--batch-size 8 cannot be divided among 3 processes\. Use a multiple of 3"):
        FinetuneOptions(batch_size=8).check()


def test_the_manifest_records_tasks_by_weight_and_trackers_never() -> None:
    resolved = FinetuneOptions(report_to=("wandb",)).resolved({"next-item": 2.0, "search": 0.5})
    assert resolved["tasks"] == ["next-item:2", "search:0.5"] and "report_to" not in resolved
    assert FinetuneOptions().resolved({"next-item": None})["tasks"] == ["next-item"]


@pytest.mark.parametrize(
    ("values", "tasks", "left_out"),
    [
        ({}, ["next-item"], {"max_text_tokens", "lora_r", "lora_alpha", "lora_dropout", "rank_sample"}),
        ({"lora": True}, ["next-item"], {"max_text_tokens", "rank_sample"}),
        ({"lora": True, "validations": 2}, ["next-item", "lc-rec"], set()),
        ({"lora": True, "validations": 2}, ["lc-rec"], {"wordings", "targets"}),
        ({"lora": True, "validations": 2, "max_steps": 9}, ["next-item", "lc-rec"], {"epochs"}),
    ],
)
def test_options_without_effect_are_not_recorded(values: dict[str, Any], tasks: list[str], left_out: set[str]) -> None:
    everything = {field.name for field in fields(FinetuneOptions)} - {"report_to", "prior", "micro_batch"}
    assert everything - set(FinetuneOptions(**values).resolved(dict.fromkeys(tasks))) == left_out


@pytest.mark.parametrize(
    ("values", "recorded"),
    [
        ({"epochs": 3.0}, 0),
        ({"epochs": 3.1}, "auto"),
        ({"max_steps": 5}, "auto"),  # how many passes that makes depends on the tables
        ({"epochs": 9.0, "validations": 0}, 0),
        ({"epochs": 1.0, "validations": 7}, 7),
    ],
)
def test_validations_are_recorded_as_they_will_be(values: dict[str, Any], recorded: Any) -> None:
    resolved = FinetuneOptions(**values).resolved({"next-item": None})
    assert resolved["validations"] == recorded and ("rank_sample" in resolved) == bool(recorded)
    assert resolved["rows_learning_rate"] == "auto"
    assert FinetuneOptions(rows_learning_rate=0.1).resolved({"next-item": None})["rows_learning_rate"] == 0.1


def test_a_run_without_a_prior_is_recorded_as_before_there_were_priors() -> None:
    tasks = dict.fromkeys(["next-item"])
    assert "prior" not in FinetuneOptions().resolved(tasks)
    assert FinetuneOptions(prior="item-knn").resolved(tasks)["prior"] == "item-knn"


@pytest.mark.parametrize("given", list(itertools.permutations(["item-knn", "sasrec", "content-knn"])))
def test_members_of_a_prior_may_be_given_in_any_order(given: tuple[str, ...]) -> None:
    """One prior has one name, by which a finished run is recognised."""
    options = FinetuneOptions(prior="+".join(given))
    options.check()
    assert options.prior == "item-knn+sasrec+content-knn"
    two = FinetuneOptions(prior="+".join(given[:2]))
    two.check()
    assert set(two.prior.split("+")) == set(given[:2]) and two.prior in PRIORS
