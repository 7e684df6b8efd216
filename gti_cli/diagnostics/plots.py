"""The pictures of a diagnosis: PNG and SVG, the same bytes for the same figures.

Colours are Okabe and Ito's, which the colour-blind can tell apart; every series also has a line style and a marker of
its own, bars have hatching, and cosines use a map whose lightness rises evenly, so that all of it reads in grey.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (2, 2)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "oo", "++")
PRETRAINED = "#bbbbbb"
LONGEST = 34  # characters of a series' name in a legend
WIDE = 58  # characters of a label that still fits twice into a picture's width


@dataclass(frozen=True)
class Series:
    """One matrix of one checkpoint as the pictures show it.

    Attributes:
        name: e.g. ``"grounded"`` or ``"grounded (output)"``.
        values, pretrained_values: (k,) singular values of the new rows and of as many pretrained rows.
        cosines: (2 c, 2 c), of c pretrained tokens followed by c new ones. shown: c.
        levels: (c,) levels of the new tokens shown.
        figures: of `measure.measure`.
    """

    name: str
    values: npt.NDArray[np.float64]
    pretrained_values: npt.NDArray[np.float64]
    cosines: npt.NDArray[np.float64]
    shown: int
    levels: npt.NDArray[np.int32]
    figures: Mapping[str, Any]

    @property
    def short(self) -> str:
        """The name, its middle left out where it is too long for a picture."""
        if len(self.name) <= LONGEST:
            return self.name
        half = (LONGEST - 1) // 2
        return f"{self.name[:half]}…{self.name[-half:]}"


def plot_all(series: Sequence[Series], folder: Path) -> list[str]:
    """Write every picture that the figures allow into ``folder``; returns the file names."""
    pictures = {"spectrum": plot_spectrum(series), "cosine": plot_cosines(series)}
    if any(entry.figures["rsa_tokens"] for entry in series):
        pictures["rsa"] = plot_rsa(series)
    names = []
    for name, figure in pictures.items():
        names += save(figure, folder / name)
    return names


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    style: dict[str, Any] = {
        "svg.hashsalt": "gti",  # else ids in the SVG are random
        "figure.dpi": 100,
        "font.size": 10,
        "font.family": "DejaVu Sans",  # comes with matplotlib, so pictures are the same everywhere
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "legend.frameon": False,
        "hatch.linewidth": 0.8,
    }
    settings: dict[Any, Any] = {**mpl.rcParamsDefault, "backend": "agg", **style}
    with mpl.rc_context(settings):
        yield


def save(figure: Figure, stem: Path) -> list[str]:
    """Write ``stem.png`` (150 dots an inch) and ``stem.svg``, without a date in them."""
    with _style():
        figure.savefig(stem.with_suffix(".png"), dpi=150, metadata={"Software": None})
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
    return [f"{stem.name}.png", f"{stem.name}.svg"]


def plot_spectrum(series: Sequence[Series]) -> Figure:
    """Singular values of all series on the same axes, and how fast their sum fills up (what effective rank counts)."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    with _style():
        figure = Figure(figsize=(10.5, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        lines = [_spectrum_lines(left, right, entry, i) for i, entry in enumerate(series)]
        first = series[0]
        rank = first.figures["pretrained_effective_rank"]
        label = f"{first.figures['pretrained_tokens']:,} pretrained rows of {first.short} (effective rank {rank:,.1f})"
        style: dict[str, Any] = {"color": PRETRAINED, "linewidth": 5, "zorder": 1.5}  # wide and light, behind the rest
        lines.append(left.plot(*_steps(first.pretrained_values), label=label, **style)[0])
        right.plot(*_cumulative(first.pretrained_values), **style)
        top = max(float(entry.values[0]) for entry in (*series,)) or 1.0
        top = max(top, float(first.pretrained_values[0]))
        left.set(
            xscale="log", yscale="log", ylim=(top * 1e-5, top * 2), xlabel="index k", ylabel="singular value $s_k$"
        )
        left.set_title("Singular values (below 1e-5 of the largest: not shown)")
        right.set(xscale="log", ylim=(0, 1.03), xlabel="index k", ylabel="$s_1 + … + s_k$, share of the sum")
        right.set_title("Cumulative share; marks: effective rank")
        for axes in (left, right):
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        _legend(figure, lines)
    return figure


def _legend(figure: Figure, handles: Sequence[Any]) -> None:
    """A legend below the axes, in two columns where its labels are short enough; the figure grows by its height."""
    columns = 2 if max(len(handle.get_label()) for handle in handles) <= WIDE and len(handles) > 1 else 1
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.22 * -(-len(handles) // columns))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def _spectrum_lines(left: Axes, right: Axes, entry: Series, i: int) -> Any:
    style: dict[str, Any] = {"color": COLOURS[i % 7], "linestyle": DASHES[i % 7], "linewidth": 1.8}
    rank = entry.figures["effective_rank"]
    (line,) = left.plot(
        *_steps(entry.values),
        label=f"{entry.short} (effective rank {rank:,.1f})",
        marker=MARKERS[i % 7],
        markevery=(0.05 + 0.01 * (i % 5), 0.22),
        markersize=6,
        **style,
    )
    indices, share = _cumulative(entry.values)
    right.plot(indices, share, **style)
    if rank >= 1:
        height = float(np.interp(np.log(rank), np.log(indices), share))
        right.plot([rank], [height], marker=MARKERS[i % 7], markersize=9, color=COLOURS[i % 7], markeredgecolor="white")
    return line


def _steps(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    shown = np.where(values > 0, values, np.nan)
    return np.arange(1, len(values) + 1, dtype=np.float64), shown


def _cumulative(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    total = values.sum()
    share = np.cumsum(values) / total if total > 0 else np.ones(len(values))
    return np.arange(1, len(values) + 1, dtype=np.float64), share


def plot_cosines(series: Sequence[Series]) -> Figure:
    """Cosines among pretrained and new tokens (the paper's figure 5), one panel a series, one colour scale."""
    from matplotlib.figure import Figure

    columns = len(series) if len(series) <= 3 else min(4, math.ceil(len(series) ** 0.5))
    rows = -(-len(series) // columns)
    low = min(float(entry.cosines.min()) for entry in series)
    low = max(-1.0, np.floor(low * 10) / 10)
    with _style():
        figure = Figure(figsize=(3.6 * columns + 1.1, 3.75 * rows + 0.3), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, entry in zip(grid.flat, series, strict=False):
            image = _cosine_panel(axes, entry, low)
        for axes in list(grid.flat)[len(series) :]:
            axes.set_axis_off()
        figure.colorbar(image, ax=grid, label="cosine similarity", shrink=0.85, aspect=25)
        if any(np.any(np.diff(entry.levels)) for entry in series):
            figure.supxlabel("Ticks: where the tokens of the next level begin.", fontsize=9)
    return figure


def _cosine_panel(axes: Axes, entry: Series, low: float) -> Any:
    size, count = len(entry.cosines), entry.shown
    image = axes.imshow(entry.cosines, cmap="cividis", vmin=low, vmax=1.0, interpolation="nearest")
    split = size - count - 0.5
    for line in (axes.axhline, axes.axvline):
        line(split, color="white", linewidth=1.6)
    edges = [split, *(split + 1 + np.flatnonzero(np.diff(entry.levels))).tolist(), size - 0.5]
    # Levels get short ticks, not lines: lines would cover what there is to see.
    axes.set_xticks(edges[1:-1], [], minor=False)
    axes.set_yticks(edges[1:-1], [], minor=False)
    axes.spines[:].set_visible(False)
    places = [(size - count) / 2 - 0.5, split + count / 2]
    axes.set_xticks(places, ["pretrained", "new"], minor=True)
    axes.set_yticks(places, ["pretrained", "new"], minor=True, rotation=90, va="center")
    axes.tick_params(which="minor", length=0)
    axes.set_title(entry.short)
    return image


def plot_rsa(series: Sequence[Series]) -> Figure:
    """RSA with the codebooks, Pearson and Spearman, over all levels and within each: one bar a series."""
    from matplotlib.figure import Figure

    levels = sorted({int(level) for entry in series for level in entry.figures["rsa_levels"]})
    groups = ["all", *(f"level {level}" for level in levels)]
    width = min(0.8 / len(series), 0.3)
    with _style():
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
                    facecolor=COLOURS[i % 7] if not HATCHES[i % 7] else "white",
                    edgecolor=COLOURS[i % 7],
                    hatch=HATCHES[i % 7],
                )
            axes.axhline(0, color="black", linewidth=0.8)
            axes.set_xticks(np.arange(len(groups)), groups)
            axes.grid(axis="y", color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
        low, high = axes_pair[0].get_ylim()
        axes_pair[0].set_ylim(min(low, -0.05), max(high, 0.2))  # noise must not fill the picture
        axes_pair[0].set(title="Pearson r", ylabel="correlation with the codebooks' cosines")
        axes_pair[1].set(title="Spearman rho")
        _legend(figure, axes_pair[0].get_legend_handles_labels()[0])
    return figure


def _rsa_values(figures: Mapping[str, Any], kind: str, levels: Sequence[int]) -> list[float]:
    by_level = figures["rsa_levels"]
    values = [figures[f"rsa_{kind}"], *(by_level.get(str(level), {}).get(kind) for level in levels)]
    return [float("nan") if value is None else float(value) for value in values]
