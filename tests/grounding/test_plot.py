"""Pictures of a run: which panels and lines they have, and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gti_cli import plot_style
from gti_cli.app import run as gti
from gti_cli.errors import InputError
from gti_cli.grounding.plot import draw, plot_curves


def test_files_of_a_run(make_world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(tied=False)
    call = ["ground", "-w", str(world.workspace), "--max-steps", "6", "--batch-size", "8", "--device", "cpu", "--plot"]
    assert gti(call) == 0
    assert "grounded_curves.svg" in capsys.readouterr().out
    paths = [world.workspace / f"grounded_curves.{ending}" for ending in ("png", "svg")]
    first = [path.read_bytes() for path in paths]
    assert (
        min(Image.open(paths[0]).size) > 2.6 * plot_style.DOTS_PER_INCH
        and np.asarray(Image.open(paths[0]).convert("L")).std() > 5
    )
    assert gti(call) == 0  # up to date: drawn again, to the same bytes
    assert [path.read_bytes() for path in paths] == first
    assert gti(["ground", "--from", "grounded", "--name", "more", *call[1:-1]]) == 0  # the checkpoint is as it was


def drawn(curve: dict[str, list[Any]]) -> dict[str, Any]:
    """The panels of a picture, by title."""
    return {axis.get_title(): axis for axis in draw(curve, "Run").axes if axis.get_title()}


def test_a_panel_for_each_kind_of_figure_and_a_line_for_each_column() -> None:
    curve = {
        "step": [0, 1, 2],
        "loss": [None, 3.0, 2.0],
        "loss_to_tokens": [4.0, None, 1.0],
        "accuracy_level_0": [0.0, None, 0.5],
        "accuracy_level_1": [0.0, None, 0.25],
        "effective_rank": [2.0, None, 3.0],
        "rsa_spearman": [None, None, None],
    }
    panels = drawn(curve)
    assert list(panels) == ["Loss", "Codes right, given those before (held-out)", "Effective rank of the new rows"]
    training, held_out = panels["Loss"].lines
    assert training.get_xydata().tolist() == [[1, 3.0], [2, 2.0]]
    assert held_out.get_xydata().tolist() == [[0, 4.0], [2, 1.0]]
    assert panels["Loss"].get_ylabel() == "nats per answer token"
    levels = panels["Codes right, given those before (held-out)"].lines
    assert [line.get_label() for line in levels] == ["level 0", "level 1"]
    styles = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in levels}
    assert len(styles) == 2


def test_a_distillation_has_its_own_panels() -> None:
    curve = {"step": [0, 1], "loss": [None, 1.0], "held_out_loss": [2.0, 1.0], "hidden_distance": [0.5, 0.25]}
    panels = drawn(curve)
    assert list(panels) == ["Loss", "Hidden states: token from phrase (held-out)"]
    assert [line.get_label() for line in panels["Loss"].lines] == ["training batches", "held-out contexts"]
    assert panels["Loss"].get_ylabel() == "objective"


def test_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gti ground"):
        plot_curves(tmp_path, "absent")
