"""The picture of a trajectory: one panel for each figure, one curve for each line of checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gti_cli.checkpoints.embeddings import INPUT
from gti_cli.diagnostics.matrix_diagnosis import shorten
from gti_cli.diagnostics.pictures.plots import legend
from gti_cli.diagnostics.trajectory import TrajectoryPoint
from gti_cli.plot_style import COLOURS, DASHES, GRID, MARKERS, PRETRAINED, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Title; figure; the same figure of pretrained rows, drawn in grey; lower and upper end that the axis shows at least.
_PANELS: tuple[tuple[str, str, str | None, float, float], ...] = (
    ("Effective rank", "effective_rank", "pretrained_effective_rank", 0.0, 10.0),
    ("Mean cosine of the new rows", "mean_cosine", None, 0.0, 1.05),
    ("Mean norm", "norm_mean", "pretrained_norm_mean", 0.0, 0.0),
    ("RSA with the codebooks, Pearson r", "rsa_pearson", None, 0.0, 0.2),
    ("Cosine within less between parents", "parent_contrast", None, 0.0, 0.02),
    ("Kept from the checkpoint before, CKA", "cka_to_previous", None, 0.0, 1.05),
)
_MOST_TICKS = 4
_TICK = 12  # characters of a checkpoint's name below an axis


def plot_trajectory(points: Sequence[TrajectoryPoint]) -> Figure:
    """Draw how the figures of each line change from checkpoint to checkpoint; an undefined figure leaves a gap."""
    from matplotlib.figure import Figure

    curves = list(dict.fromkeys((point.line, point.matrix) for point in points))
    several_matrices = len({matrix for _, matrix in curves}) > 1
    with style():
        figure = Figure(figsize=(10.5, 6.2), layout="constrained")
        handles: list[Any] = []
        for axes, (title, key, reference, low, high) in zip(figure.subplots(2, 3).flat, _PANELS, strict=True):
            for i, (line_name, matrix) in enumerate(curves):
                of_curve = [point for point in points if (point.line, point.matrix) == (line_name, matrix)]
                label = _label(of_curve) + (f" ({matrix})" if several_matrices else "")
                line = _draw_curve(axes, of_curve, key, i, label)
                # The curves look the same in all panels, so the legend takes those of the first.
                handles += [line] if len(handles) < len(curves) else []
            if reference is not None:
                grey = _draw_reference(axes, points, reference)
            _set_limits(axes, low, high)
            axes.set_title(title)
            _set_ticks(axes, points)
        legend(figure, [*handles, grey])
    return figure


def _label(of_curve: Sequence[TrajectoryPoint]) -> str:
    """The names of a curve's checkpoints, or of the first and the last of many."""
    names = [shorten(point.label, 2 * _TICK) for point in of_curve if point.source == "checkpoint"]
    shown = names if len(names) <= 3 else [names[0], f"… {len(names) - 2} …", names[-1]]
    return " → ".join(shown)


def _draw_curve(axes: Axes, of_curve: Sequence[TrajectoryPoint], key: str, i: int, label: str) -> Any:
    """Draw a line through all points that have the figure, logged ones included, with markers at the checkpoints."""
    with_figure, positions, values = _defined(of_curve, key)
    marks = [index for index, point in enumerate(with_figure) if point.source == "checkpoint"]
    (line,) = axes.plot(
        positions,
        values,
        label=label,
        color=COLOURS[i % len(COLOURS)],
        linestyle=DASHES[i % len(COLOURS)],
        linewidth=1.8,
        marker=MARKERS[i % len(COLOURS)],
        markevery=marks,
        markersize=7 if len(marks) <= 12 else 4,
    )
    return line


def _defined(points: Sequence[TrajectoryPoint], key: str) -> tuple[list[TrajectoryPoint], list[float], list[float]]:
    """The points that have the figure, their positions and its values."""
    pairs = [(point, value) for point in points if (value := point.figures.get(key)) is not None]
    return [point for point, _ in pairs], [point.position for point, _ in pairs], [value for _, value in pairs]


def _draw_reference(axes: Axes, points: Sequence[TrajectoryPoint], key: str) -> Any:
    """Draw the figure of the pretrained rows, wide and grey, for the input embedding of the longest line."""
    longest = max(points, key=lambda point: point.position).line
    _, positions, values = _defined([point for point in points if (point.line, point.matrix) == (longest, INPUT)], key)
    (grey,) = axes.plot(
        positions,
        values,
        color=PRETRAINED,
        linewidth=5,
        zorder=1.5,
        label=f"as many pretrained rows ({shorten(longest, 2 * _TICK)})",
    )
    return grey


def _set_limits(axes: Axes, low: float, high: float) -> None:
    """Leave room around the curves, and show at least ``low`` to ``high``, so that noise does not fill the panel."""
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    bottom, top = axes.get_ylim()
    axes.set_ylim(min(bottom, low), max(top + 0.03 * (top - min(bottom, low)), high))


def _set_ticks(axes: Axes, points: Sequence[TrajectoryPoint]) -> None:
    """Name the first checkpoints and those at the end of each stage, at most `_MOST_TICKS` positions."""
    names: dict[float, list[str]] = {}
    first = min(point.position for point in points if point.source == "checkpoint")
    for point in points:
        if point.source == "checkpoint" and (point.position == int(point.position) or point.position == first):
            names_here = names.setdefault(point.position, [])
            if shorten(point.label, _TICK) not in names_here:
                names_here.append(shorten(point.label, _TICK))
    positions = sorted(names)
    stride = -(-len(positions) // _MOST_TICKS)
    chosen = positions[::stride]
    texts = ["\n".join(names[place][:2]) + ("\n…" if len(names[place]) > 2 else "") for place in chosen]
    axes.set_xticks(chosen, texts, fontsize=8)
    ends = [point.position for point in points]
    axes.set_xlim(min(ends) - 0.35, max(ends) + 0.35)
