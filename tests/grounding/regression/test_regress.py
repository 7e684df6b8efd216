"""The regression as a part of the stage: what it changes, reports and refuses, and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gti_cli.errors import InputError
from gti_cli.grounding.ground import ground
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.regression import regress
from gti_cli.grounding.regression.saved_levels import Progress, SavedLevels
from tests.support.grounding import curve, held_out_by_hand

OPTIONS: dict[str, Any] = {"solver": "regression", "held_out": 0.2, "device": "cpu", "retrieval_sample": 4}


def assert_only_new_rows_changed(workspace: Path, ids: torch.Tensor, names: set[str]) -> None:
    """The new rows of the matrices ``names`` differ from ``extended``; no other bit does."""
    before, after = (load_file(workspace / folder / "model.safetensors") for folder in ("extended", "grounded"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == names
    for name in changed:
        old = torch.ones(len(before[name]), dtype=torch.bool)
        old[ids] = False
        assert torch.equal(before[name][old], after[name][old])


def test_without_steps_the_figures_are_the_regressions(make_world: Any) -> None:
    world = make_world()
    manifest = ground(world.workspace, max_steps=0, **OPTIONS)
    metrics, counts = manifest.metrics, manifest.counts
    assert (counts["steps"], metrics["epochs"], "train_loss" in metrics) == (0, 0.0, False)
    levels = metrics["regression"]["levels"]
    assert [level["places"] for level in levels] == [[0], [1]] and metrics["regression"]["rows_shifted"] > 0
    assert metrics["held_out_loss"] == metrics["held_out_loss_regression"] < metrics["held_out_loss_before"]
    by_hand = held_out_by_hand(world, "grounded")
    for name in ("loss_to_tokens", "accuracy_level_0", "accuracy_level_1"):
        assert metrics[name] == pytest.approx(by_hand[name], abs=1e-5), name
    assert manifest.options["max_steps"] == 0 and manifest.options["directions"] == "to-tokens"
    assert manifest.run["regression_seconds"] > 0 and manifest.run["regression_passes"] == 4
    assert curve(world.workspace)["step"] == [0]
    (name,) = [name for name in load_file(world.workspace / "grounded" / "model.safetensors") if "embed" in name]
    assert_only_new_rows_changed(world.workspace, torch.tensor(world.tokens.ids), {name})


def test_an_untied_heads_rows_are_solved_for_and_the_input_rows_take_steps(
    make_world: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world("phi", tied=False)
    ids = torch.tensor(world.tokens.ids)
    ground(world.workspace, max_steps=0, **OPTIONS)
    assert "the input rows stay as they start" in capsys.readouterr().err
    assert_only_new_rows_changed(world.workspace, ids, {"lm_head.weight", "lm_head.bias"})
    manifest = ground(world.workspace, max_steps=3, force=True, **OPTIONS)
    assert "train the input rows, too" in capsys.readouterr().err
    assert_only_new_rows_changed(world.workspace, ids, {"lm_head.weight", "lm_head.bias", "model.embed_tokens.weight"})
    assert manifest.counts["steps"] == 3 and curve(world.workspace)["step"] == [0, 1, 2, 3]
    # The curve begins where the regression ended.
    assert curve(world.workspace)["held_out_loss"][0] == manifest.metrics["held_out_loss_regression"]


def test_where_nothing_is_held_out_it_says_what_is_used(make_world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world()
    manifest = ground(world.workspace, max_steps=0, **{**OPTIONS, "held_out": 0.0})
    assert "nothing is held out, so no pair can choose" in capsys.readouterr().err
    for level in manifest.metrics["regression"]["levels"]:
        assert level["strength"] == 3.0 and level["tried"] == [(10.0, None), (3.0, None)]
        assert level["held_out_loss"] is None


def test_a_kill_after_level_0_goes_on_with_level_1_to_the_same_bytes(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = make_world(name="whole"), make_world(name="broken")
    given = {**OPTIONS, "max_steps": 2}
    expected = ground(whole.workspace, **given)
    # The second world keeps hidden states in files.
    monkeypatch.setattr(regress, "BYTES_OF_STATES", {"cpu": 0})
    keep, kept = SavedLevels.keep, []

    def stop(self: SavedLevels, progress: Progress) -> None:
        """Keep, and stop the first time."""
        keep(self, progress)
        kept.append(len(progress.levels))
        if len(kept) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(SavedLevels, "keep", stop)
    with pytest.raises(KeyboardInterrupt):
        ground(broken.workspace, **given)
    assert not (broken.workspace / "grounded").exists()
    manifest = ground(broken.workspace, **given)
    assert kept == [1, 2]
    assert manifest.outputs == expected.outputs and manifest.metrics == expected.metrics
    assert expected.run["hidden_states_kept_in"] == "memory" and manifest.run["hidden_states_kept_in"] == "files"
    assert not list((broken.workspace / ".gti").rglob("*.states"))


def test_logits_that_follow_no_rule_are_refused(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GroundingModel, "rule", None)
    world = make_world()
    with pytest.raises(InputError, match="has no regression to solve"):
        ground(world.workspace, **OPTIONS)
    assert not (world.workspace / "grounded").exists()


def test_a_device_without_float64_is_refused(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from gti_cli.checkpoints import devices

    monkeypatch.setattr(devices, "choose_device", lambda _: torch.device("mps"))
    with pytest.raises(InputError, match="float64, which the device mps does not have"):
        ground(make_world().workspace, **OPTIONS)
