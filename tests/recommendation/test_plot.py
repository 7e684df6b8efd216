"""The picture of a fine-tuning run: its panels and lines against the log, and its files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.recommendation.finetune import finetune
from gti_cli.recommendation.plot import (
    TRAINING_LOG,
    TrainingCurves,
    draw_training,
    log_columns,
    plot_training,
    read_curves,
    remove_picture,
    smoothed,
)
from gti_cli.workspace import Workspace

CURVES = TrainingCurves(
    losses=[(1, 3.0), (2, 2.0), (3, 1.5)],
    rates=[(1, 0.0), (2, 0.01), (3, 0.005)],
    rows_factor=2.0,
    validations=[(2, 0.25), (3, 0.125)],
    valid_losses={"next-item": (3.5, 1.75)},
    steps=3,
    saved_step=2,
)


def panels(curves: TrainingCurves) -> dict[str, dict[str, list[list[float]]]]:
    """The points of the named lines of each panel, by title."""
    return {
        axis.get_title(): {
            line.get_label(): line.get_xydata().tolist() for line in axis.lines if not line.get_label().startswith("_")
        }
        for axis in draw_training(curves, "A title").axes
    }


def test_the_log_as_columns() -> None:
    history = [
        {"loss": 3.0, "learning_rate": 0.5, "grad_norm": 9.0, "step": 1},
        {"loss": 2.0, "learning_rate": 0.25, "step": 2},
        {"step": 2, "valid_ndcg@10": 0.125},
        {"train_runtime": 1.0, "step": 3},
    ]
    assert log_columns(history) == {
        "step": [1, 2],
        "loss": [3.0, 2.0],
        "learning_rate": [0.5, 0.25],
        "valid_ndcg@10": [None, 0.125],
    }


def test_lines_are_the_curves_and_the_saved_weights_are_marked() -> None:
    drawn = panels(CURVES)
    assert list(drawn) == ["Loss", "NDCG@10 of validation items", "Learning rate"]
    assert drawn["Loss"]["training batches"] == [[1, 3.0], [2, 2.0], [3, 1.5]]
    assert drawn["Loss"]["validation of next-item: 3.500 → 1.750"] == [[0, 3.5], [2, 1.75]]
    assert drawn["NDCG@10 of validation items"] == {"saved: step 2, 0.2500": [[2, 0.25]]}
    assert drawn["Learning rate"] == {
        "other weights: at most 0.01": [[1, 0.0], [2, 0.01], [3, 0.005]],
        "new rows: at most 0.02": [[1, 0.0], [2, 0.02], [3, 0.01]],
    }
    plain = dataclasses.replace(CURVES, validations=[], rows_factor=1.0, saved_step=3)
    assert list(panels(plain)) == ["Loss", "Learning rate"]
    assert list(panels(plain)["Learning rate"]) == ["all weights: at most 0.01"]


def test_smoothing_keeps_a_straight_line_and_flattens_noise() -> None:
    assert smoothed([1.0, 5.0, 2.0]) == [1.0, 5.0, 2.0]  # too short to be smoothed
    line = [float(n) for n in range(100)]
    assert smoothed(line)[2:-2] == pytest.approx(line[2:-2])
    noise = [float(n % 5) for n in range(100)]
    assert smoothed(noise)[2:-2] == pytest.approx([2.0] * 96)


def test_a_finished_run_is_drawn_from_its_log(make_world: Any, capsys: Any) -> None:
    world = make_world()
    options: dict[str, Any] = {"max_steps": 6, "batch_size": 16, "device": "cpu", "validations": 2}
    manifest = finetune(world.interactions, world.workspace, **options)
    space = Workspace(world.workspace)
    log = tables.read(space.path("finetuned") / TRAINING_LOG).to_pydict()
    assert log["step"] == [1, 2, 3, 4, 5, 6]
    curves = read_curves(space, manifest)
    assert [step for step, _ in curves.losses] == log["step"]
    assert sum(loss for _, loss in curves.losses[-1:]) == pytest.approx(manifest.metrics["train_loss"])
    rate = manifest.options["learning_rate"]
    assert max(rate for _, rate in curves.rates) == pytest.approx(rate)
    assert rate * curves.rows_factor == pytest.approx(manifest.metrics["rows_learning_rate"])
    logged = [[step, value] for step, value in zip(log["step"], log["valid_ndcg@10"], strict=True) if value is not None]
    assert logged == manifest.metrics["valid_ndcg@10_by_step"] == [list(point) for point in curves.validations]
    assert curves.saved_step == manifest.counts["best_step"]

    paths = plot_training(world.workspace)
    assert [path.name for path in paths] == ["finetuned_training.png", "finetuned_training.svg"]
    assert paths[0].read_bytes().startswith(b"\x89PNG") and b"<svg" in paths[1].read_bytes()
    space.require("finetuned", "gti finetune")  # the checkpoint is as it was

    capsys.readouterr()
    (space.path("finetuned") / TRAINING_LOG).unlink()  # as an earlier version left it
    older = read_curves(space, manifest)
    assert "kept no log" in capsys.readouterr().err
    assert older == dataclasses.replace(curves, losses=[], rates=[])
    assert list(panels(older)) == ["Loss", "NDCG@10 of validation items"]

    remove_picture(space, "finetuned")
    assert not any(path.exists() for path in paths)


def test_what_was_not_fine_tuned(make_world: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gti finetune"):
        plot_training(tmp_path / "nothing", "absent")
    with pytest.raises(InputError, match="made by 'gti ground'"):
        plot_training(make_world().workspace, "grounded")
