"""The pictures of a diagnosis: spectra, cosines and RSA, as PNG and SVG.

The style is that of `gti_cli.plot_style`. Cosines use a colour map whose lightness rises evenly, so that they can also
be read in grey.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli.plot_style import COLOURS, DASHES, ERROR_BAR, GRID, HATCHES, MARKERS, PRETRAINED, save_picture, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gti_cli.diagnostics.matrix_diagnosis import PlotSeries

LOWEST = 1e-5  # singular values below this share of the largest are not drawn
FEW = 10  # up to this many singular values, each index gets a number on the axis
WIDE = 58  # characters of the longest label with which a legend has two columns


def plot_all(series: Sequence[PlotSeries], folder: Path) -> list[str]:
    """Write all pictures into ``folder``, that of RSA only where there are codebooks.

    Returns:
        The names of the files.
    """
    pictures = {"spectrum": plot_spectrum(series), "cosine": plot_cosines(series), "hierarchy": plot_hierarchy(series)}
    if any(entry.figures["rsa_tokens"] for entry in series):
        pictures["rsa"] = plot_rsa(series)
    names = []
    for name, figure in pictures.items():
        names += [path.name for path in save_picture(figure, folder / name)]
    return names


def plot_spectrum(series: Sequence[PlotSeries]) -> Figure:
    """Plot the singular values of all series, and their cumulative share, on whose growth effective rank depends."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    with style():
        figure = Figure(figsize=(10.5, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        lines = [_spectrum_lines(left, right, entry, i) for i, entry in enumerate(series)]
        first = series[0]
        rank = first.figures["pretrained_effective_rank"]
        label = f"{first.figures['pretrained_tokens']:,} pretrained rows of {first.short} (effective rank {rank:,.1f})"
        # The yardstick is wide and light, and lies behind the other curves.
        wide: dict[str, Any] = {"color": PRETRAINED, "linewidth": 5, "zorder": 1.5}
        lines.append(left.plot(*_steps(first.pretrained_singular_values), label=label, **wide)[0])
        right.plot(*_cumulative(first.pretrained_singular_values), **wide)
        drawn = np.concatenate([*(entry.singular_values for entry in series), first.pretrained_singular_values])
        top = float(drawn.max()) or 1.0
        cut = top * LOWEST
        low = float(drawn[drawn > cut].min(initial=top)) / 2
        left.set(xscale="log", yscale="log", ylim=(low, top * 2), xlabel="index k", ylabel="singular value $s_k$")
        hidden = " (below 1e-5 of the largest: not shown)" if (drawn <= cut).any() else ""
        left.set_title(f"Singular values{hidden}")
        right.set(xscale="log", ylim=(0, 1.03), xlabel="index k", ylabel="$s_1 + … + s_k$, share of the sum")
        right.set_title("Cumulative share; marks: effective rank")
        for axes in (left, right):
            axes.grid(color=GRID, linewidth=0.6)
            axes.set_axisbelow(True)
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            most = max(len(entry.singular_values) for entry in series)
            if most <= FEW:  # The powers of ten alone would leave an axis of less than a decade without numbers.
                axes.set_xticks(range(1, most + 1))
        legend(figure, lines)
    return figure


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """Add a legend below the axes, in two columns where its labels are short enough, and enlarge the figure for it."""
    columns = 2 if max(len(handle.get_label()) for handle in handles) <= WIDE and len(handles) > 1 else 1
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.22 * -(-len(handles) // columns))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def _spectrum_lines(left: Axes, right: Axes, entry: PlotSeries, i: int) -> Any:
    """Draw the i-th series on both axes; returns the line for the legend."""
    style_number = i % len(COLOURS)
    drawn: dict[str, Any] = {
        "color": COLOURS[style_number],
        "linestyle": DASHES[style_number],
        "linewidth": 1.8,
    }
    rank = entry.figures["effective_rank"]
    (line,) = left.plot(
        *_steps(entry.singular_values),
        label=f"{entry.short} (effective rank {rank:,.1f})",
        marker=MARKERS[style_number],
        markevery=(0.05 + 0.01 * (i % 5), 0.22),
        markersize=6,
        **drawn,
    )
    indices, share = _cumulative(entry.singular_values)
    right.plot(indices, share, **drawn)
    if rank >= 1:
        height = float(np.interp(np.log(rank), np.log(indices), share))
        right.plot(
            [rank],
            [height],
            marker=MARKERS[style_number],
            markersize=9,
            color=COLOURS[style_number],
            markeredgecolor="white",
        )
    return line


def _steps(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Indices from 1 and values; zeros, which a logarithmic axis cannot show, are NaN."""
    shown = np.where(values > 0, values, np.nan)
    return np.arange(1, len(values) + 1, dtype=np.float64), shown


def _cumulative(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Indices from 1, and the share that the values up to each have of the sum."""
    total = values.sum()
    share = np.cumsum(values) / total if total > 0 else np.ones(len(values))
    return np.arange(1, len(values) + 1, dtype=np.float64), share


def plot_cosines(series: Sequence[PlotSeries]) -> Figure:
    """Plot the cosines among pretrained and new tokens (the paper's figure 5), one panel for each series."""
    return _panels(
        series,
        [entry.cosines for entry in series],
        _cosine_panel,
        "Ticks: where the tokens of the next level begin." if any(np.any(np.diff(e.levels)) for e in series) else "",
    )


def plot_hierarchy(series: Sequence[PlotSeries]) -> Figure:
    """Plot the cosines among all new tokens, sorted by hierarchy (the paper's figure 6), one panel for each series."""
    pixels = max(len(entry.image_levels) / len(entry.image) for entry in series)
    return _panels(
        series,
        [entry.image for entry in series],
        _hierarchy_panel,
        f"Each pixel is the mean over up to {math.ceil(pixels)} x {math.ceil(pixels)} tokens." if pixels > 1 else "",
    )


def _panels(
    series: Sequence[PlotSeries],
    images: Sequence[npt.NDArray[np.float64]],
    draw: Callable[[Axes, PlotSeries], None],
    caption: str,
) -> Figure:
    """Draw one image for each series, all on one colour scale; ``draw`` adds what surrounds the image."""
    from matplotlib.figure import Figure

    columns = len(series) if len(series) <= 3 else min(4, math.ceil(len(series) ** 0.5))
    rows = -(-len(series) // columns)
    low = max(-1.0, math.floor(min(float(image.min()) for image in images) * 10) / 10)
    low = min(low, 0.0)  # The scale starts at 0 or below. From 0.9 to 1 it would make collapsed rows look different.
    with style():
        figure = Figure(figsize=(3.6 * columns + 1.1, 3.75 * rows + 0.3), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, entry, image in zip(grid.flat, series, images, strict=False):
            smoothing = "nearest" if len(image) <= 150 else None  # None: automatic; older matplotlib has no "auto"
            shown = axes.imshow(image, cmap="cividis", vmin=low, vmax=1.0, interpolation=smoothing)
            axes.spines[:].set_visible(False)
            axes.set_title(entry.short)
            draw(axes, entry)
        for axes in list(grid.flat)[len(series) :]:
            axes.set_axis_off()
        figure.colorbar(shown, ax=grid, label="cosine similarity", shrink=0.85, aspect=25)
        if caption:
            figure.supxlabel(caption, fontsize=9)
    return figure


def _cosine_panel(axes: Axes, entry: PlotSeries) -> None:
    size, count = len(entry.cosines), len(entry.levels)
    split = size - count - 0.5
    for line in (axes.axhline, axes.axvline):
        line(split, color="white", linewidth=1.6)
    edges = (split + 1 + np.flatnonzero(np.diff(entry.levels))).tolist()
    # Levels are marked by ticks, because lines would hide parts of the image.
    axes.set_xticks(edges, [""] * len(edges))
    axes.set_yticks(edges, [""] * len(edges))
    _name_ranges(axes, [(-0.5, split, "pretrained"), (split, size - 0.5, "new")])


def _hierarchy_panel(axes: Axes, entry: PlotSeries) -> None:
    scale = len(entry.image) / len(entry.image_levels)
    edges = [0, *(1 + np.flatnonzero(np.diff(entry.image_levels))).tolist(), len(entry.image_levels)]
    names = [f"level {level}" if (level := int(entry.image_levels[edge])) >= 0 else "other" for edge in edges[:-1]]
    places = [edge * scale - 0.5 for edge in edges]
    for edge in places[1:-1]:
        axes.axhline(edge, color="white", linewidth=1.0)
        axes.axvline(edge, color="white", linewidth=1.0)
    axes.set_xticks([])
    axes.set_yticks([])
    if set(names) == {"other"}:
        names = [f"{len(entry.image_levels):,} new tokens"]
    elif min(np.diff(places)) < 0.13 * len(entry.image):  # Some level has no room for "level N": only its number.
        names = [name.removeprefix("level ") for name in names]
        names = [
            name if size >= 0.05 * len(entry.image) else "" for name, size in zip(names, np.diff(places), strict=True)
        ]
    _name_ranges(axes, list(zip(places[:-1], places[1:], names, strict=True)))


def _name_ranges(axes: Axes, ranges: Sequence[tuple[float, float, str]]) -> None:
    """Write names on both axes, in the middle of the ranges (from, to, name)."""
    for axis in (axes.xaxis, axes.yaxis):
        # By default Matplotlib drops a minor tick, here a name, where a major tick, here the edge of a level, lies.
        axis.remove_overlapping_locs = False
    places, names = [(start + end) / 2 for start, end, _ in ranges], [name for *_, name in ranges]
    axes.set_xticks(places, names, minor=True)
    axes.set_yticks(places, names, minor=True, rotation=90, va="center")
    axes.tick_params(which="minor", length=0)


def plot_rsa(series: Sequence[PlotSeries]) -> Figure:
    """Plot RSA with the codebooks, Pearson and Spearman, over all codes and within each level, one bar per series."""
    from matplotlib.figure import Figure

    levels = sorted({int(level) for entry in series for level in entry.figures["rsa_levels"]})
    groups = ["all", *(f"level {level}" for level in levels)]
    width = min(0.8 / len(series), 0.3)
    with style():
        figure = Figure(figsize=(10.5, 3.9), layout="constrained")
        axes_pair = figure.subplots(1, 2, sharey=True)
        for axes, kind in zip(axes_pair, ("pearson", "spearman"), strict=True):
            for i, entry in enumerate(series):
                heights = _rsa_values(entry.figures, kind, levels)
                place = np.arange(len(groups)) + (i - (len(series) - 1) / 2) * width
                axes.bar(
                    place,
                    heights,
                    width * 0.92,
                    label=entry.short + ("" if np.isfinite(heights).any() else " (undefined: equal rows)"),
                    facecolor=COLOURS[i % len(COLOURS)] if not HATCHES[i % len(COLOURS)] else "white",
                    edgecolor=COLOURS[i % len(COLOURS)],
                    hatch=HATCHES[i % len(COLOURS)],
                    yerr=_rsa_errors(entry.figures, kind, levels, heights),
                    error_kw={"linewidth": 1.0, "capsize": 1.5, "ecolor": ERROR_BAR},
                )
            axes.axhline(0, color="black", linewidth=0.8)
            axes.set_xticks(np.arange(len(groups)), groups)
            axes.set_xlim(-0.7, len(groups) - 0.3)
            axes.grid(axis="y", color=GRID, linewidth=0.6)
            axes.set_axisbelow(True)
        low, high = axes_pair[0].get_ylim()
        axes_pair[0].set_ylim(min(low, -0.05), max(high, 0.2))  # so that noise does not fill the picture
        axes_pair[0].set(title="Pearson r with 95 % intervals", ylabel="correlation with the codebooks' cosines")
        axes_pair[1].set(title="Spearman rho with 95 % intervals")
        legend(figure, axes_pair[0].get_legend_handles_labels()[0])
    return figure


def _rsa_values(figures: Mapping[str, Any], kind: str, levels: Sequence[int]) -> list[float]:
    """The correlation over all codes and within each of ``levels``; NaN where it is undefined."""
    by_level = figures["rsa_levels"]
    values = [figures[f"rsa_{kind}"], *(by_level.get(str(level), {}).get(kind) for level in levels)]
    return [float("nan") if value is None else float(value) for value in values]


def _rsa_errors(
    figures: Mapping[str, Any], kind: str, levels: Sequence[int], heights: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Distances (2, groups) from each value down and up to the ends of its interval; 0 without an interval."""
    by_level = figures["rsa_levels"]
    intervals = [figures.get(f"rsa_{kind}_interval")]
    intervals += [by_level.get(str(level), {}).get(f"{kind}_interval") for level in levels]
    ends = [
        (value, value) if interval is None else interval for interval, value in zip(intervals, heights, strict=True)
    ]
    errors = [(max(value - low, 0.0), max(high - value, 0.0)) for (low, high), value in zip(ends, heights, strict=True)]
    return np.asarray(np.nan_to_num(np.asarray(errors, dtype=np.float64).T))
