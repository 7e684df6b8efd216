"""When evaluations come, and early stopping on the held-out loss: what is kept, why it ended, and resuming."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.app import run as gti
from gti_cli.errors import InputError
from gti_cli.grounding.evaluations import HELD_OUT_LOSS, evaluation_steps, stopping_status, trajectory
from gti_cli.grounding.ground import ground
from tests.support.grounding import interrupt

# So high a rate memorises the training pairs: the held-out loss falls, then rises.
EARLY: dict[str, Any] = {
    "max_steps": 80,
    "directions": "both",
    "batch_size": 8,
    "learning_rate": 0.1,
    "device": "cpu",
    "held_out": 0.2,
    "eval_every": 2,
    "patience": 2,
}


def test_when_to_evaluate() -> None:
    assert evaluation_steps(100, None, 0, 16) == list(range(10, 101, 10))
    assert evaluation_steps(7, None, 0, 16) == list(range(1, 8))
    assert evaluation_steps(20, None, 4000, 16) == [20]  # not more work than training
    assert evaluation_steps(1000, None, 4000, 16) == [250, 500, 750, 1000]
    assert evaluation_steps(20, 6, 4000, 16) == [6, 12, 18, 20]


def test_columns_where_nothing_was_logged() -> None:
    history = [{"step": 2, "loss": 0.5}, {"step": 3, "effective_rank": 2.0}, {"step": 3, "train_runtime": 1.0}]
    curve = trajectory(history, {"effective_rank": 1.0})
    assert curve == {"step": [0, 2, 3], "loss": [None, 0.5, None], "effective_rank": [1.0, None, 2.0]}


@given(st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1), st.integers(1, 4))
def test_stopping_is_what_a_loop_finds(losses: list[float], patience: int) -> None:
    best, best_step, since = float("inf"), 0, 0
    for step, loss in enumerate(losses, start=1):
        best, best_step, since = (loss, step, 0) if loss < best else (best, best_step, since + 1)
    log = [{"step": n, HELD_OUT_LOSS: loss} for n, loss in enumerate(losses, start=1)]
    found = stopping_status([*log, {"step": 1, "loss": 0.0}], patience)
    assert (found["best_step"], found["best_loss"], found["stopped"]) == (best_step, best, since >= patience)
    assert ("not improved" in found["reason"]) == found["stopped"]


def test_stops_and_keeps_the_best_rows(make_world: Any) -> None:
    world = make_world()
    manifest = ground(world.workspace, **EARLY)
    ending = manifest.metrics["stopping"]
    assert ending["stopped"] and "has not improved for 2 evaluations" in ending["reason"]
    assert manifest.counts["steps"] == ending["best_step"] + 4 < manifest.counts["steps_planned"] == 80
    curve = pq.read_table(world.workspace / "grounded" / "trajectory.parquet").to_pydict()
    seen = {s: v for s, v in zip(curve["step"], curve[HELD_OUT_LOSS], strict=True) if v is not None and s}
    assert min(seen, key=lambda s: seen[s]) == ending["best_step"] and len(seen) == ending["evaluations"]
    # What is saved is as good as the best evaluation said, not the last.
    assert manifest.metrics[HELD_OUT_LOSS] == pytest.approx(min(seen.values()), abs=1e-6)
    assert manifest.metrics[HELD_OUT_LOSS] < list(seen.values())[-1]


def test_without_a_reason_to_stop_all_steps_are_done(make_world: Any) -> None:
    manifest = ground(make_world().workspace, **{**EARLY, "max_steps": 6, "learning_rate": 1e-3})
    assert not manifest.metrics["stopping"]["stopped"] and manifest.counts["steps"] == 6


@pytest.mark.parametrize("before_the_best", [True, False])
def test_resuming_an_early_stop_is_bit_identical(
    make_world: Any, monkeypatch: pytest.MonkeyPatch, before_the_best: bool
) -> None:
    whole, broken = make_world(name="whole"), make_world(name="broken")
    expected = ground(whole.workspace, **EARLY)
    at = expected.metrics["stopping"]["best_step"] + (-1 if before_the_best else 3)
    calls = interrupt(monkeypatch, "training_step", at)
    with pytest.raises(KeyboardInterrupt):
        ground(broken.workspace, **EARLY)
    manifest = ground(broken.workspace, **EARLY)
    assert len(calls) < at + expected.counts["steps"]  # it went on from what was saved
    assert manifest.outputs == expected.outputs and manifest.metrics == expected.metrics


def test_a_run_that_had_stopped_takes_no_step_more(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = make_world(name="whole"), make_world(name="broken")
    options = {
        **EARLY,
        "eval_every": 8,
        "patience": 1,
    }  # saved every 8 steps, so also where it stops
    expected = ground(whole.workspace, **options)
    assert expected.counts["steps"] < 80 and expected.metrics["stopping"]["stopped"]
    monkeypatch.setattr("gti_cli.grounding.train._report", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        ground(broken.workspace, **options)
    monkeypatch.undo()
    calls = interrupt(monkeypatch, "training_step", 10**6)
    manifest = ground(broken.workspace, **options)
    assert not calls
    assert manifest.outputs == expected.outputs and manifest.metrics == expected.metrics


def test_patience_needs_held_out_pairs(make_world: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world()
    shutil.copytree(world.workspace, tmp_path / "copy")
    with pytest.raises(InputError, match="--patience watches the loss on held-out pairs"):
        ground(tmp_path / "copy", patience=2, held_out=0.0)
    single = tmp_path / "single.csv"
    single.write_text("item_id,title\ni0,red dress\n")
    with pytest.raises(InputError, match="too few pairs to hold any out"):
        ground(tmp_path / "copy", patience=2, pairs=single)
    for value, words in (("0", "--patience is 0"), ("-1", "--patience is -1")):
        assert gti(["ground", "-w", str(tmp_path / "copy"), "--patience", value]) == 2
        assert words in capsys.readouterr().err
    assert np.isin(["extended"], [path.name for path in (tmp_path / "copy").iterdir()]).all()
