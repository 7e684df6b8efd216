"""Starts, grounding and fine-tuning on a page."""

from gti_cli.pages.training import grounding_rows, run_facts, start_row, task_rows
from tests.support.commands import make_manifest


def test_before_after_and_chance() -> None:
    metrics = {"held_out_loss_before": 9.0, "held_out_loss": 2.0, "loss_to_tokens_before": 9.0, "loss_to_tokens": 2.0}
    metrics |= {"accuracy_level_1_before": 0.0, "accuracy_level_1": 0.5, "lonely_before": 1.0}
    metrics |= {"retrieval@1_before": 0.1, "retrieval@1": 0.2, "retrieval_chance@1": 0.01}
    assert grounding_rows(make_manifest("g", metrics=metrics)) == [
        ("loss, from text to tokens", 9.0, 2.0, None),
        ("text finds its item, first place", 0.1, 0.2, 0.01),
        ("code of level 1 right", 0.0, 0.5, None),
    ]
    both = {**metrics, "held_out_loss": 3.0}
    assert grounding_rows(make_manifest("g", metrics=both))[0] == ("loss of held-out pairs", 9.0, 3.0, None)


def test_facts_of_a_run() -> None:
    manifest = make_manifest(
        "g",
        counts={"steps": 5, "steps_planned": 10},
        metrics={"epochs": 0.5, "learning_rate": 0.00567},
        upstream={"semantic_ids": "x", "extended": "y"},
        run={"device": "cpu"},
    )
    assert run_facts(manifest) == [
        ("Trained from", "extended"),
        ("Steps", "5 of 10"),
        ("Passes over the data", "0.50"),
        ("Rate of the rows", "0.0057"),
        ("Device", "cpu"),
    ]
    assert run_facts(make_manifest("g")) == [("Trained from", "–")]


def test_old_manifests_have_gaps() -> None:
    assert start_row(make_manifest("e"))["model"] is None
    (row,) = task_rows([make_manifest("f")])
    assert (row["name"], row["task"], row["before"], row["steps"]) == ("f", "–", None, None)
    tasks = {"search": {"valid_loss": 1.5}, "next-item": {"valid_loss": 2.5}}
    assert [row["after"] for row in task_rows([make_manifest("f", metrics={"tasks": tasks})])] == [1.5, 2.5]
