import numpy as np
import pytest

from gti_cli.diagnostics.pictures.plot_trajectory import plot_trajectory
from gti_cli.diagnostics.trajectory import TrajectoryPoint
from tests.support.diagnostics import badly_placed

KEYS = ("effective_rank", "pretrained_effective_rank", "mean_cosine", "norm_mean", "pretrained_norm_mean")


def points(line, count, scale, matrix="input"):
    names = [f"a-long-name-of-checkpoint-{step}" for step in range(count)]
    return [
        TrajectoryPoint(line, names[i], matrix, "checkpoint", float(i), None, dict.fromkeys(KEYS, scale * (i + 1)))
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 4, 40])
@pytest.mark.parametrize("lines", [1, 6])
def test_nothing_overlaps(count, lines, monkeypatch):
    drawn = [point for n in range(lines) for point in points(f"line-{n}", count, 10 ** (n - 3))]
    assert not badly_placed(plot_trajectory(drawn), monkeypatch)


def test_an_undefined_figure_leaves_a_gap():
    drawn = points("line", 3, 1.0)
    drawn[1] = TrajectoryPoint("line", "x", "input", "checkpoint", 1.0, None, {})
    axes = plot_trajectory(drawn).axes[0]
    assert axes.lines[0].get_xdata().tolist() == [0, 2]
    assert np.array_equal(axes.lines[0].get_ydata(), [1, 3])


def test_logged_points_lie_on_the_curve_without_a_marker():
    drawn = points("line", 2, 1.0)
    drawn.insert(1, TrajectoryPoint("line", "x", "input", "log", 0.5, 7, {"effective_rank": 9.0}))
    curve = plot_trajectory(drawn).axes[0].lines[0]
    assert curve.get_ydata().tolist() == [1, 9, 2]
    assert curve.get_markevery() == [0, 2]


def test_matrices_are_curves_of_their_own_and_the_reference_is_the_input_embeddings():
    figure = plot_trajectory([*points("line", 2, 1.0), *points("line", 2, 5.0, "output")])
    assert [line.get_ydata().tolist() for line in figure.axes[0].lines] == [[1, 2], [5, 10], [1, 2]]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [label.endswith(f"({matrix})") for label, matrix in zip(labels, ("input", "output"), strict=False)] == [
        True,
        True,
    ]
    assert labels[2].startswith("as many pretrained rows")
