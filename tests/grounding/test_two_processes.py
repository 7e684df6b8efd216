"""Two processes (gloo, CPU) do what one does with the same global batch, and resume as one does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gti_cli.grounding.ground import ground
from tests.support.grounding import assert_same_curves, manifest_of
from tests.support.launch import launch, torchrun

# 62 examples of many lengths in batches of 15: shares of 8 and 7 examples, and a last batch of 2.
OPTIONS: dict[str, Any] = {
    "directions": "both",
    "epochs": 2.0,
    "batch_size": 15,
    "learning_rate": 0.02,
    "held_out": 0.1,
    "eval_every": 2,
    "device": "cpu",
    "retrieval_sample": 0,
}


def test_the_curve_of_two_is_that_of_one_under_torchrun(make_world: Any) -> None:
    one, two = make_world(name="one"), make_world(name="two")
    expected = ground(one.workspace, **OPTIONS)
    torchrun(two.workspace, OPTIONS)
    assert_same_curves(one.workspace, two.workspace)
    found = manifest_of(two.workspace)
    assert found["counts"] == expected.counts and expected.counts["steps"] == 10
    for name, value in expected.metrics.items():
        assert found["metrics"][name] == pytest.approx(value, abs=1e-4), name


@pytest.mark.parametrize("tied", [True, False])
def test_batches_smaller_than_the_number_of_processes(make_world: Any, tied: bool) -> None:
    options = {**OPTIONS, "batch_size": 1, "max_steps": 9}
    one, two = (make_world(name=name, tied=tied) for name in ("one", "two"))
    ground(one.workspace, **options)
    assert launch(two.workspace, options) == [9, 9]
    assert_same_curves(one.workspace, two.workspace)


def test_two_processes_resume_to_the_same_bytes(make_world: Any) -> None:
    whole, broken = make_world(name="whole"), make_world(name="broken")
    options = {**OPTIONS, "patience": 3, "max_steps": 20}  # saved at every other step
    assert launch(whole.workspace, options) == [20, 20]
    launch(broken.workspace, options, stop=8)
    assert not (broken.workspace / "grounded").exists()
    assert launch(broken.workspace, options) == [14, 14]  # from what was saved after 6 steps
    expected, found = manifest_of(whole.workspace), manifest_of(broken.workspace)
    assert found["outputs"] == expected["outputs"] and found["metrics"] == expected["metrics"]


def test_two_processes_solve_for_the_rows_of_one(make_world: Any) -> None:
    one, two = make_world(name="one"), make_world(name="two")
    given = {**OPTIONS, "directions": None, "solver": "regression", "held_out": 0.2, "max_steps": 0}
    expected = ground(one.workspace, **given)
    assert launch(two.workspace, given) == [0, 0]
    found = manifest_of(two.workspace)
    assert found["metrics"].keys() == expected.metrics.keys()
    for name in ("held_out_loss", "loss_to_tokens", "rows_moved"):
        assert found["metrics"][name] == pytest.approx(expected.metrics[name], abs=1e-3), name
    mine, theirs = (load_file(world.workspace / "grounded" / "model.safetensors") for world in (one, two))
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=1e-3)
