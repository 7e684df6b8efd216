"""Pictures of an evaluation: Recall and NDCG over K, and slices, with intervals and beside the baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.evaluation.accuracy import Accuracy, EvaluationFigures, read_figures
from gti_cli.evaluation.compare import find_evaluation
from gti_cli.plot_style import (
    COLOURS,
    DASHES,
    ERROR_BAR,
    MARKERS,
    PRETRAINED,
    SUFFIXES,
    label_lines,
    save_picture,
    style,
)
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURES = ("accuracy", "slices")  # evaluation/NAME_accuracy.png and so on
_HEADINGS = {
    "target_training_interactions": ("By popularity", "interactions with the target in training (0: cold start)"),
    "history_length": ("By length of the history", "items before the target"),
    "good_items": ("By number of answers", "good items of the query"),
    "query_words": ("By length of the query", "words"),
    "good_items_good_in_training": ("By answers seen in training", "good items that a training query has, too"),
}
# Colour, dash and marker of baselines; the tuned and the untuned form of one share their colour.
_LOOKS: Mapping[str, tuple[str, Any, str]] = {
    "popularity": (ERROR_BAR, DASHES[3], "v"),
    "item-knn": (COLOURS[1], DASHES[1], "s"),
    "item-knn (untuned)": (COLOURS[1], DASHES[3], "X"),
    "sasrec": (COLOURS[2], DASHES[2], "D"),
    "bm25": (COLOURS[3], DASHES[1], "^"),
}
_OTHER_LOOKS = tuple(zip((*COLOURS[3:], COLOURS[2]), DASHES[2:], MARKERS[2:], strict=False))
_BAND = 0.15  # opacity of an interval
_FEW, _PALE = 10, 0.35  # Slices of fewer targets are drawn with this opacity.
_LINEAR = 20  # With larger cut-offs the axis of K is logarithmic: most people look at the first ten or twenty items.


def plot_accuracy(workspace: Path | str, name: str = "finetuned") -> list[Path]:
    """Draw an evaluation as ``evaluation/NAME_accuracy.png`` and ``.svg``, and its slices as ``NAME_slices``.

    The files stand beside the evaluation's folder: later stages check that the folder's content is unchanged. What is
    drawn is computed from the tables of the evaluation, so nothing is searched again.

    Args:
        workspace: The workspace.
        name: NAME of the evaluation.

    Returns:
        Paths of the files.

    Raises:
        InputError: When the workspace has no such evaluation, or its files were edited.
    """
    space = Workspace(workspace)
    manifest = find_evaluation(space, name)
    figures = read_figures(space, manifest)
    title = title_of(manifest)
    paths = []
    for picture, draw in zip(PICTURES, (draw_accuracy, draw_slices), strict=True):
        if picture == "slices" and not figures.slices:
            continue
        with style():
            figure = draw(figures, title)
        paths += save_picture(figure, space.path(f"{manifest.name}_{picture}"))
    return paths


def remove_pictures(space: Workspace, artifact: str) -> None:
    """Delete pictures of an evaluation that is replaced, so that nobody takes them for pictures of the new one."""
    for picture in PICTURES:
        for suffix in SUFFIXES:
            space.path(f"{artifact}_{picture}{suffix}").unlink(missing_ok=True)


def title_of(manifest: Manifest) -> str:
    """What was evaluated, in one line."""
    counts = manifest.counts
    subjects = "queries" if "queries" in counts else "users"
    cold = " with held-out items" if "held_out_items" in manifest.options else ""
    drawn = f" of {counts['evaluated'] + counts['not_drawn']:,}" if counts.get("not_drawn") else ""
    return (
        f"{manifest.name.removeprefix('evaluation/')}: {counts['evaluated']:,}{drawn} {subjects}{cold} "
        f"({manifest.options['split']} part), {counts['catalogue']:,} items"
    )


def draw_accuracy(figures: EvaluationFigures, title: str) -> Figure:
    """Draw Recall@K and NDCG@K of all methods over K, with their intervals as bands.

    Args:
        figures: The figures of an evaluation.
        title: Title of the picture.

    Returns:
        The picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    figure.suptitle(title, fontsize=13)
    looks = _looks(figures.methods)
    for axis, (metric, heading) in zip(
        figure.subplots(1, 2), (("recall", "Recall@K"), ("ndcg", "NDCG@K")), strict=True
    ):
        for accuracy in figures.runs.values():
            axis.plot(*_points(accuracy, metric), color=COLOURS[0], linewidth=0.8, alpha=0.5)
        labels = []
        for method, accuracy in figures.methods.items():
            colour, dash, marker = looks[method]
            cutoffs, means = _points(accuracy, metric)
            ends = [accuracy.ends[f"{metric}@{k}"] for k in cutoffs]
            axis.fill_between(cutoffs, *zip(*ends, strict=True), color=colour, alpha=_BAND, linewidth=0)
            marked = [n for n, k in enumerate(cutoffs) if k in figures.cutoffs]
            look = {
                "color": colour,
                "linestyle": dash,
                "marker": marker,
                "markersize": 5,
                "markevery": marked,
                "clip_on": False,
            }
            axis.plot(cutoffs, means, **look, linewidth=_width(method, figures), label=method)
            labels.append((means[-1], method, colour))
        last = figures.cutoffs[-1]
        axis.set(title=heading, xlabel="K: length of the list", xscale="log" if last > _LINEAR else "linear")
        axis.set_xticks(_ticks(figures.cutoffs), minor=False)
        axis.set_xticks([], minor=True)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlim(min(_points(accuracy, metric)[0][0] for accuracy in figures.methods.values()), last)
        axis.set_ylim(bottom=0)
        label_lines(axis, labels)
    thin = f" Thin lines: the {len(figures.runs)} runs, whose mean is the thick one." if figures.runs else ""
    caption = f"Bands: 95 % bootstrap intervals of the mean. Markers: the cut-offs in metrics.json.{thin}"
    figure.supxlabel(caption, fontsize=9)
    return figure


def draw_slices(figures: EvaluationFigures, title: str) -> Figure:
    """Draw one metric of all methods in each slice, with their intervals as bars.

    Args:
        figures: The figures of an evaluation.
        title: Title of the picture.

    Returns:
        The picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    width = 11 if len(figures.slices) <= 2 else 4.6 * len(figures.slices)
    figure = Figure(figsize=(width, 4.8), layout="constrained")
    figure.suptitle(title, fontsize=13)
    looks = _looks(figures.methods)
    axes = figure.subplots(1, len(figures.slices), squeeze=False, sharey=True)[0]
    name, _, cutoff = figures.sliced.partition("@")
    for axis, (slice_name, bins) in zip(axes, figures.slices.items(), strict=True):
        for number, method in enumerate(figures.methods):
            _draw_method(axis, bins, method, figures, looks[method], number)
        heading, unit = _HEADINGS[slice_name]
        counts = [next(iter(methods.values())).count for methods in bins.values()]
        labels = [f"{label}\n(n = {count:,})" for label, count in zip(_written(bins), counts, strict=True)]
        axis.set_xticks(range(len(bins)), labels, fontsize=9)
        axis.set(title=heading, xlabel=unit)
        axis.set_xlim(-0.5, len(bins) - 0.5)
        axis.yaxis.set_tick_params(labelleft=True)
        if not any(part.ends for methods in bins.values() for part in methods.values()):
            note = (
                "evaluated before baselines and\nintervals of this slice were kept:\n'gti evaluate --force' adds them"
            )
            axis.text(
                0.03, 0.97, note, transform=axis.transAxes, va="top", fontsize=9, zorder=3, backgroundcolor="white"
            )
        for border in range(1, len(bins)):
            axis.axvline(border - 0.5, color=PRETRAINED, linewidth=0.6)
    # After all panels are drawn: a limit holds for all of them and is not widened by what is drawn later.
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel(f"{name.upper() if name == 'ndcg' else name.capitalize()}@{cutoff}")
    dots = [
        Line2D([], [], linestyle="none", marker=looks[method][2], markersize=7, color=looks[method][0], label=method)
        for method in figures.methods
    ]
    counts = [
        accuracy.count for bins in figures.slices.values() for part in bins.values() for accuracy in part.values()
    ]
    few = f" Pale: fewer than {_FEW}, too few to say anything." if min(counts) < _FEW else ""
    caption = f"Bars: 95 % bootstrap intervals of the mean.{few}"
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": min(len(dots), 5)}
    figure.legend(handles=dots, title=caption, title_fontsize=9, fontsize=10, **place)
    return figure


def _draw_method(
    axis: Axes,
    bins: Mapping[str, Mapping[str, Accuracy]],
    method: str,
    figures: EvaluationFigures,
    look: tuple[str, Any, str],
    number: int,
) -> None:
    """Draw one method's points beside those of the other methods, the model first in each slice."""
    colour, _, marker = look
    offset = 0.7 * ((number + 0.5) / len(figures.methods) - 0.5)
    for n, part in enumerate(bins.values()):
        if method not in part:
            continue
        place, accuracy = n + offset, part[method]
        opacity = 1.0 if accuracy.count >= _FEW else _PALE
        if accuracy.ends:  # The stored slices of earlier versions have none.
            ends = accuracy.ends[figures.sliced]
            axis.plot([place, place], ends, color=colour, alpha=opacity, linewidth=_width(method, figures))
        dot: dict[str, Any] = {"marker": marker, "markersize": 7, "color": colour, "alpha": opacity, "clip_on": False}
        axis.plot([place], [accuracy.means[figures.sliced]], linestyle="none", label=method, **dot)


def _looks(methods: Mapping[str, Any]) -> dict[str, tuple[str, Any, str]]:
    """Colour, dash and marker of each method; the first one is the model that was evaluated."""
    model, *baselines = methods
    others = iter(_OTHER_LOOKS * (1 + len(baselines) // len(_OTHER_LOOKS)))
    known = {name: _LOOKS[name] if name in _LOOKS else next(others) for name in baselines}
    return {model: (COLOURS[0], "-", "o"), **known}


def _width(method: str, figures: EvaluationFigures) -> float:
    return 2.4 if method == next(iter(figures.methods)) else 1.5


def _points(accuracy: Accuracy, metric: str) -> tuple[list[int], list[float]]:
    """The cut-offs of a metric, ascending, and its mean at each."""
    cutoffs = sorted(int(name.partition("@")[2]) for name in accuracy.means if name.startswith(f"{metric}@"))
    return cutoffs, [accuracy.means[f"{metric}@{k}"] for k in cutoffs]


def _ticks(cutoffs: Sequence[int]) -> list[int]:
    """Ticks at 1 and at the evaluated cut-offs, without those whose numbers would overlap."""
    ticks: list[int] = []
    for k in sorted({1, *cutoffs}, reverse=True):
        is_apart = not ticks or (k * 1.2 <= ticks[-1] if cutoffs[-1] > _LINEAR else ticks[-1] - k >= cutoffs[-1] / 20)
        if is_apart:
            ticks.append(k)
    return ticks[::-1]


def _written(labels: Mapping[str, Any]) -> list[str]:
    """Labels of bins with the dash of a range."""
    return [label.replace("-", "–") for label in labels]
