"""The picture of a trajectory: one curve a line of checkpoints, one panel a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gti_cli.diagnostics.pictures.plots import PRETRAINED, legend
from gti_cli.diagnostics.rows import INPUT
from gti_cli.diagnostics.series import shorten
from gti_cli.diagnostics.trajectory import Moment
from gti_cli.pictures import COLOURS, DASHES, MARKERS, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Title, figure, the pretrained rows' figure drawn in grey beside it, lower and upper end that are shown at least.
_PANELS: tuple[tuple[str, str, str | None, float, float], ...] = (
    ("Effective rank", "effective_rank", "pretrained_effective_rank", 0.0, 10.0),
    ("Mean cosine of the new rows", "mean_cosine", None, 0.0, 1.05),
    ("Mean norm", "norm_mean", "pretrained_norm_mean", 0.0, 0.0),
    ("RSA with the codebooks, Pearson r", "rsa_pearson", None, 0.0, 0.2),
    ("Cosine within less between parents", "parent_contrast", None, 0.0, 0.02),
    ("Kept from the checkpoint before, CKA", "cka_to_previous", None, 0.0, 1.05),
)
_MOST_TICKS = 4
_TICK = 12  # characters of a name below an axis


def plot_trajectory(found: Sequence[Moment]) -> Figure:
    """How the figures of each line move from stage to stage; a checkpoint without a figure leaves a gap."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys((moment.line, moment.matrix) for moment in found))
    several = len({matrix for _, matrix in names}) > 1
    with style():
        figure = Figure(figsize=(10.5, 6.2), layout="constrained")
        handles: list[Any] = []
        for axes, (title, key, reference, low, high) in zip(figure.subplots(2, 3).flat, _PANELS, strict=True):
            for i, name in enumerate(names):
                mine = [moment for moment in found if (moment.line, moment.matrix) == name]
                label = _title(mine) + (f" ({name[1]})" if several else "")
                line = _curve(axes, mine, key, i, label)
                handles += [line] if len(handles) < len(names) else []
            if reference is not None:
                grey = _reference(axes, found, reference)
            _scale(axes, low, high)
            axes.set_title(title)
            _ticks(axes, found)
        legend(figure, [*handles, grey])
    return figure


def _title(mine: Sequence[Moment]) -> str:
    labels = [shorten(moment.label, 2 * _TICK) for moment in mine if moment.source == "checkpoint"]
    shown = labels if len(labels) <= 3 else [labels[0], f"… {len(labels) - 2} …", labels[-1]]
    return " → ".join(shown)


def _curve(axes: Axes, mine: Sequence[Moment], key: str, i: int, label: str) -> Any:
    """A line through all moments that have the figure, logs included; marks at the checkpoints."""
    shown, places, values = _known(mine, key)
    marks = [at for at, moment in enumerate(shown) if moment.source == "checkpoint"]
    (line,) = axes.plot(
        places,
        values,
        label=label,
        color=COLOURS[i % 7],
        linestyle=DASHES[i % 7],
        linewidth=1.8,
        marker=MARKERS[i % 7],
        markevery=marks,
        markersize=7 if len(marks) <= 12 else 4,
    )
    return line


def _known(mine: Sequence[Moment], key: str) -> tuple[list[Moment], list[float], list[float]]:
    """The moments that have the figure, their places in time and its values."""
    points = [(moment, value) for moment in mine if (value := moment.figures.get(key)) is not None]
    return [moment for moment, _ in points], [moment.position for moment, _ in points], [value for _, value in points]


def _reference(axes: Axes, found: Sequence[Moment], key: str) -> Any:
    longest = max(found, key=lambda moment: moment.position).line
    _, places, values = _known([moment for moment in found if (moment.line, moment.matrix) == (longest, INPUT)], key)
    (grey,) = axes.plot(
        places,
        values,
        color=PRETRAINED,
        linewidth=5,
        zorder=1.5,
        label=f"as many pretrained rows ({shorten(longest, 2 * _TICK)})",
    )
    return grey


def _scale(axes: Axes, low: float, high: float) -> None:
    """Room around the curves, and never so little that noise fills the panel."""
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    bottom, top = axes.get_ylim()
    axes.set_ylim(min(bottom, low), max(top + 0.03 * (top - min(bottom, low)), high))


def _ticks(axes: Axes, found: Sequence[Moment]) -> None:
    """The names of the first checkpoints and of those at the end of each stage; between, nothing."""
    names: dict[float, list[str]] = {}
    first = min(moment.position for moment in found if moment.source == "checkpoint")
    for moment in found:
        if moment.source == "checkpoint" and (moment.position == int(moment.position) or moment.position == first):
            there = names.setdefault(moment.position, [])
            if shorten(moment.label, _TICK) not in there:
                there.append(shorten(moment.label, _TICK))
    places = sorted(names)
    step = -(-len(places) // _MOST_TICKS)  # every one, or every second, …
    kept = places[::step]
    texts = ["\n".join(names[place][:2]) + ("\n…" if len(names[place]) > 2 else "") for place in kept]
    axes.set_xticks(kept, texts, fontsize=8)
    ends = [moment.position for moment in found]
    axes.set_xlim(min(ends) - 0.35, max(ends) + 0.35)
