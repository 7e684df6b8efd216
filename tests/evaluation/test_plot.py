"""Pictures of an evaluation: their lines and bars against the figures, and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from gti_cli import plot_style
from gti_cli.app import run as gti
from gti_cli.errors import InputError
from gti_cli.evaluation.accuracy import Accuracy, EvaluationFigures
from gti_cli.evaluation.plot import draw_accuracy, draw_slices, plot_accuracy
from tests.support.evaluation import make_world


def accuracy(value: float, count: int = 30) -> Accuracy:
    names = [f"{kind}@{k}" for kind in ("recall", "ndcg") for k in (1, 2, 3)]
    means = {name: value * int(name[-1]) for name in names}
    return Accuracy(means, {name: (mean - 0.01, mean + 0.02) for name, mean in means.items()}, count)


METHODS = ("mine", "item-knn", "item-knn (untuned)", "popularity", "novel", "other")


def figures(**more: Any) -> EvaluationFigures:
    methods = {name: accuracy(0.05 * (n + 1)) for n, name in enumerate(METHODS)}
    bins = {"0": {"mine": accuracy(0.1, 4)}, "1-4": {name: accuracy(0.2) for name in METHODS}}
    given = {"runs": {}, "slices": {"history_length": bins}, "sliced": "recall@2", **more}
    return EvaluationFigures([1, 3], methods, **given)


def test_curves_and_bands_are_the_figures() -> None:
    known = figures()
    figure = draw_accuracy(known, "A title")
    recall, ndcg = figure.axes
    assert (recall.get_title(), ndcg.get_title()) == ("Recall@K", "NDCG@K")
    for axis, metric in ((recall, "recall"), (ndcg, "ndcg")):
        lines = {line.get_label(): line for line in axis.lines}
        assert list(lines) == list(METHODS)
        for (name, line), band in zip(lines.items(), axis.collections, strict=True):
            means, ends = known.methods[name].means, known.methods[name].ends
            assert line.get_xydata().tolist() == [[k, means[f"{metric}@{k}"]] for k in (1, 2, 3)]
            assert line.get_markevery() == [0, 2]  # at the evaluated cut-offs
            corners = {tuple(corner) for corner in band.get_paths()[0].vertices.round(9)}
            assert corners == {(k, round(end, 9)) for k in (1, 2, 3) for end in ends[f"{metric}@{k}"]}
        assert {text.get_text() for text in axis.texts} == set(METHODS)
        looks = {(to_hex(line.get_color()), line.get_linestyle(), line.get_marker()) for line in axis.lines}
        assert len({marker for _, _, marker in looks}) == len(METHODS)
    assert recall.get_xscale() == "linear"


def test_the_runs_of_a_group_are_thin_lines() -> None:
    axis = draw_accuracy(figures(runs={"a": accuracy(0.03), "b": accuracy(0.04)}), "").axes[0]
    assert [line.get_linewidth() for line in axis.lines[:2]] == [0.8, 0.8] and len(axis.lines) == 2 + len(METHODS)


def test_slices_are_the_figures_and_few_targets_are_pale() -> None:
    known = figures()
    (axis,) = draw_slices(known, "").axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0\n(n = 4)", "1–4\n(n = 30)"]
    dots = [line for line in axis.lines if line.get_label() in METHODS]
    assert [line.get_label() for line in dots] == ["mine", *METHODS]
    assert [line.get_alpha() for line in dots] == [0.35, *[1] * len(METHODS)]
    assert [line.get_ydata()[0] for line in dots] == [0.2, *[0.4] * len(METHODS)]
    places = [line.get_xdata()[0] for line in dots]
    assert -0.5 < places[0] < 0.5 < places[1] < places[-1] < 1.5 and sorted(set(places)) == places
    bars = [line for line in axis.lines if len(line.get_xdata()) == 2 and line.get_label() not in METHODS]
    assert [tuple(bar.get_ydata()) for bar in bars if bar.get_xdata()[0] == places[0]] == [known_ends(known)]
    assert axis.get_ylabel() == "Recall@2"


def test_the_panels_of_slices_share_an_axis_that_holds_all_points() -> None:
    slices = {"history_length": {"1-2": {"mine": accuracy(0.01)}}, "query_words": {"1": {"mine": accuracy(0.3)}}}
    for axis in draw_slices(figures(slices=slices), "").axes:
        low, high = axis.get_ylim()
        assert low == 0 and 0.62 < high < 0.8  # the upper end of the higher interval, and a little room


def known_ends(known: EvaluationFigures) -> tuple[float, float]:
    return known.slices["history_length"]["0"]["mine"].ends["recall@2"]


def test_files_of_a_finished_evaluation_are_removed_with_it(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    command = ["evaluate", "-w", str(world.workspace), "--interactions", str(world.interactions), "-q"]
    command += ["--baselines", "popularity", "--k"]
    folder = world.workspace / "evaluation"
    assert gti([*command, "5"]) == 0 and not list(folder.glob("*.png"))
    evaluated = (folder / "finetuned.json").read_bytes()
    assert gti([*command, "5", "--plot"]) == 0  # up to date: drawn without another search
    assert (folder / "finetuned.json").read_bytes() == evaluated
    pictures = sorted(folder.glob("finetuned_*"))
    names = [f"finetuned_{picture}.{ending}" for picture in ("accuracy", "slices") for ending in ("png", "svg")]
    assert [path.name for path in pictures] == names
    for path in pictures[::2]:
        image = Image.open(path)
        assert min(image.size) > 2.6 * plot_style.DOTS_PER_INCH
        assert np.asarray(image.convert("L").resize((200, 100))).std() > 5
    assert gti([*command, "3", "--force"]) == 0
    assert not list(folder.glob("finetuned_*"))


def test_an_evaluation_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no evaluation called"):
        plot_accuracy(tmp_path, "absent")
