"""The style of all pictures, and how they are saved: as PNG and SVG, with the same bytes for the same figures.

The colours are those of Okabe and Ito, which people with colour blindness can tell apart. Every series also has a line
style and a marker of its own, and bars have hatching, so that pictures can be read in grey, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Every colour of every picture stands here: COLOURS for series, greys for what stays in the background.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
PRETRAINED = "#bbbbbb"  # what belongs to the pretrained model, behind the coloured series of new tokens
GRID = "#dddddd"
ERROR_BAR = "#333333"
BACKGROUND_SERIES = "0.55"
DASHES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (2, 2)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "oo", "++")
SUFFIXES = (".png", ".svg")
DOTS_PER_INCH = 150  # of the PNG files


@contextmanager
def style() -> Iterator[None]:
    """Use Matplotlib's defaults and the settings below within a ``with`` block, whatever the user has configured."""
    import matplotlib as mpl
    from matplotlib.rcsetup import cycler

    ours: dict[str, Any] = {
        "svg.hashsalt": "gti",  # Without it, the ids inside an SVG are random.
        "figure.dpi": 100,
        "axes.prop_cycle": cycler(color=COLOURS),
        "font.size": 10,
        "font.family": "DejaVu Sans",  # It comes with matplotlib, so pictures look the same everywhere.
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "legend.frameon": False,
        "hatch.linewidth": 0.8,
    }
    settings: dict[Any, Any] = {**mpl.rcParamsDefault, "backend": "agg", **ours}
    with mpl.rc_context(settings):
        yield


def label_lines(axis: Axes, lines: Sequence[tuple[float, str, str]], size: float = 9.5) -> None:
    """Write the name of each line at its right end, moved up or down where names would overlap.

    Args:
        axis: The panel, with its limits set. Its right border is the end of all lines.
        lines: Last value, name and colour of each line.
        size: Font size in points.
    """
    low, high = axis.get_ylim()
    panel_height = axis.get_window_extent().height / axis.figure.dpi * 72  # in points
    gap = 1.25 * size / panel_height * (high - low)
    ordered = sorted(lines)
    places = spread_out([value for value, _, _ in ordered], gap)
    for (value, name, colour), place in zip(ordered, places, strict=True):
        axis.annotate(
            name,
            (1, value),
            (1.03, place),
            xycoords=("axes fraction", "data"),
            textcoords=("axes fraction", "data"),
            color=colour,
            fontsize=size,
            verticalalignment="center",
            annotation_clip=False,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0},
        )


def spread_out(values: Sequence[float], gap: float) -> list[float]:
    """Move values apart to a least distance, as little as possible.

    Args:
        values: Ascending.
        gap: The least distance between two of them.

    Returns:
        The moved values, in the same order.
    """
    # Groups that touch are merged, and each is centred on the mean of its values.
    groups: list[list[float]] = []
    for value in values:
        groups.append([value])
        while (
            len(groups) > 1
            and _centre(groups[-1]) - _centre(groups[-2]) < gap * (len(groups[-1]) + len(groups[-2])) / 2
        ):
            last = groups.pop()
            groups[-1] += last
    return [_centre(group) + gap * (n - (len(group) - 1) / 2) for group in groups for n in range(len(group))]


def _centre(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def save_picture(figure: Figure, stem: Path) -> list[Path]:
    """Write ``stem.png`` (`DOTS_PER_INCH`) and ``stem.svg``, without a date in them.

    Args:
        figure: The picture.
        stem: Path of both files, without their endings.

    Returns:
        The paths of both files.
    """
    paths = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    for path in paths:
        if path.is_symlink():
            path.unlink()  # what it points to stays as it is
    with style():
        figure.savefig(paths[0], dpi=DOTS_PER_INCH, metadata={"Software": None})
        # The layout has been computed, in fractions of the figure. Computing it again for the SVG would move things.
        figure.set_layout_engine("none")
        figure.savefig(paths[1], metadata={"Date": None, "Creator": None})
    return paths
