"""Checks of the options, their defaults that depend on others, and what the manifest records of them."""

from __future__ import annotations

from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.grounding.options import GroundOptions

POSITIVE = (
    "epochs",
    "max_steps",
    "batch_size",
    "learning_rate",
    "max_text_tokens",
    "held_out_sample",
    "eval_every",
    "patience",
    "lora_r",
    "lora_alpha",
    "lora_learning_rate",
    "unfreeze_learning_rate",
)


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
@pytest.mark.parametrize("name", POSITIVE)
def test_numbers_that_must_be_positive(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"^--{name.replace('_', '-')} is {value}"):
        GroundOptions(**{name: value}).check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retrieval_sample": -1}, "--retrieval-sample is -1"),
        ({"unfreeze_steps": -1}, "--unfreeze-steps is -1"),
        ({"lora_dropout": 1.0}, "--lora-dropout is 1"),
        ({"lora_alpha": 3.0}, "--lora-alpha has no effect without --lora. Add --lora, or leave it out"),
        ({"lora_learning_rate": 1e-3}, "--lora-learning-rate has no effect without --lora"),
        ({"unfreeze_learning_rate": 1e-3}, "--unfreeze-learning-rate has no effect without --unfreeze-steps"),
        ({"lora_dropout": -0.1}, "--lora-dropout is -0.1"),
        ({"held_out": 1.0}, "--held-out is 1"),
        ({"held_out": -0.5}, "--held-out is -0.5"),
        ({"held_out": 0.0, "patience": 2}, "--patience watches the loss on held-out pairs"),
        ({"directions": "up"}, "--directions is 'up'"),
        ({"objective": "kd"}, "--objective is 'kd'"),
        ({"objective": "nll", "distil_layer": 1}, "--distil-layer goes with --objective distil"),
        ({"objective": "distil", "lora": True}, "--lora goes with --objective nll"),
        ({"objective": "distil", "unfreeze_steps": 3}, "--unfreeze-steps goes with --objective nll"),
        ({"objective": "distil", "directions": "both"}, "--directions goes with --objective nll"),
        ({"objective": "distil", "distil_nll_weight": float("inf")}, "--distil-nll-weight is inf"),
        ({"objective": "distil", "distil_snippets": -1}, "--distil-snippets is -1"),
        ({"solver": "newton", "max_steps": 0}, "--solver is 'newton'"),
        ({"solver": "regression", "max_steps": -1}, "--max-steps is -1"),
        ({"solver": "regression", "lora": True}, "--solver regression fits .* against --lora"),
        ({"solver": "regression", "directions": "both"}, "against --directions both"),
        ({"solver": "regression", "directions": "to-text"}, "against --directions to-text"),
        ({"solver": "regression", "objective": "distil"}, "against --objective distil"),
    ],
)
def test_values_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GroundOptions(**options).check()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"held_out": 0.0, "retrieval_sample": 0, "unfreeze_steps": 0, "lora": True, "lora_dropout": 0.0},
        {"directions": "to-text", "lora": True, "unfreeze_steps": 2, "patience": 1},
        {"solver": "regression", "directions": "to-tokens", "max_steps": 0, "unfreeze_steps": 2},
        {"solver": "regression", "epochs": 0.0},
        {"objective": "distil", "distil_layer": 2, "distil_nll_weight": 0.5, "distil_snippets": 4},
    ],
)
def test_values_that_are_allowed(options: dict[str, Any]) -> None:
    GroundOptions(**options).check()


def test_directions_that_were_not_given_depend_on_the_tokens() -> None:
    assert GroundOptions().choose_directions(semantic_ids=True).directions == "to-tokens"
    assert GroundOptions().choose_directions(semantic_ids=False).directions == "both"
    for semantic_ids in (True, False):
        assert GroundOptions(directions="to-text").choose_directions(semantic_ids).directions == "to-text"


def test_a_regression_is_followed_by_no_steps_unless_told_otherwise() -> None:
    after = GroundOptions(solver="regression")
    assert (after.steps, after.any_steps) == (0, False)
    assert after.choose_directions(semantic_ids=False).directions == "to-tokens"
    assert after.resolved()["max_steps"] == 0 and "epochs" not in after.resolved()
    for none in ({"max_steps": 0}, {"epochs": 0.0}):
        assert not GroundOptions(solver="regression", **none).any_steps
    one_pass = GroundOptions(solver="regression", epochs=1.0)
    assert (one_pass.steps, one_pass.passes) == (None, 1.0)
    assert one_pass.resolved()["solver"] == "regression" and "solver" not in GroundOptions().resolved()


def test_the_manifest_leaves_out_options_without_effect() -> None:
    plain = GroundOptions(report_to=("wandb",)).resolved()
    assert plain["learning_rate"] == "auto" and plain["epochs"] == 1.0
    names = ("report_to", "lora_r", "lora_learning_rate", "unfreeze_steps", "unfreeze_learning_rate", "distil_layer")
    assert not set(names) & plain.keys()
    full = GroundOptions(learning_rate=0.1, max_steps=3, lora=True, unfreeze_steps=5).resolved()
    assert full["learning_rate"] == 0.1 and "epochs" not in full
    assert {"lora_r", "lora_alpha", "unfreeze_steps", "unfreeze_learning_rate"} <= full.keys()
    distil = GroundOptions(objective="distil").resolved()
    assert "distil_snippets" in distil and not {"directions", "retrieval_sample"} & distil.keys()
