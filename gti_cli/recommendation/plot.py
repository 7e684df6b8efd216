"""A picture of a fine-tuning run: loss, validation and learning rate over the steps, and which weights were kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console, tables
from gti_cli.errors import InputError
from gti_cli.plot_style import (
    BACKGROUND_SERIES,
    COLOURS,
    ERROR_BAR,
    MARKERS,
    SUFFIXES,
    save_picture,
    style,
)
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAINING_LOG = "training_log.parquet"  # in the checkpoint's folder; columns as `log_columns` makes them
VALID_NDCG = "valid_ndcg@10"
_LOGGED = ("loss", "learning_rate", VALID_NDCG)
_SMOOTHED = 20  # the smoothed loss is a mean over this part of the logged losses

Points = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class TrainingCurves:
    """What the picture of a run shows.

    Attributes:
        losses: Step and mean loss of the training batches since the logged step before.
        rates: Step and learning rate of the weights.
        rows_factor: Learning rate of the new rows, divided by that of the other weights.
        validations: Step and NDCG@10 of each validation by ranking.
        valid_losses: By task, the validation loss before training and with the saved weights.
        steps: Steps of the run.
        saved_step: Step whose weights were saved.
    """

    losses: Points
    rates: Points
    rows_factor: float
    validations: Points
    valid_losses: Mapping[str, tuple[float, float]]
    steps: int
    saved_step: int


def log_columns(history: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Arrange the Trainer's log as columns, with None where a step has no such figure.

    Args:
        history: The Trainer's log of the whole run.

    Returns:
        ``step``; ``loss`` of the batches since the logged step before; ``learning_rate`` of the weights;
        ``valid_ndcg@10``.
    """
    points: dict[int, dict[str, float]] = {}
    for entry in history:
        figures = {name: float(entry[name]) for name in _LOGGED if name in entry}
        if figures:
            points.setdefault(int(entry["step"]), {}).update(figures)
    steps = sorted(points)
    return {"step": steps, **{name: [points[step].get(name) for step in steps] for name in _LOGGED}}


def plot_training(workspace: Path | str, name: str = "finetuned") -> list[Path]:
    """Draw a fine-tuned checkpoint's training as ``NAME_training.png`` and ``.svg``.

    The files stand beside the checkpoint's folder: later stages check that the folder's content is unchanged.

    Args:
        workspace: The workspace.
        name: NAME, the checkpoint's folder in it.

    Returns:
        Paths of the two files.

    Raises:
        InputError: When the workspace has no such checkpoint, or it was not fine-tuned.
    """
    space = Workspace(workspace)
    manifest = space.require(name, "gti finetune")
    if manifest.command != "finetune":
        raise InputError(
            f"{name!r} was made by 'gti {manifest.command}' and has no fine-tuning to draw",
            remedy="give the name of a checkpoint that 'gti finetune' made",
        )
    with style():
        figure = draw_training(read_curves(space, manifest), title_of(manifest))
    return save_picture(figure, space.path(f"{name}_training"))


def remove_picture(space: Workspace, name: str) -> None:
    """Delete the picture of a checkpoint that is replaced, so that nobody takes it for one of the new checkpoint."""
    for suffix in SUFFIXES:
        space.path(f"{name}_training{suffix}").unlink(missing_ok=True)


def title_of(manifest: Manifest) -> str:
    """What was trained on what, in one line."""
    steps, passes = manifest.counts["steps"], manifest.metrics["epochs"]
    model, tasks = manifest.details.get("model", "a model"), ", ".join(manifest.metrics["tasks"])
    return f"{manifest.name}: {model} fine-tuned on {tasks}, {steps:,} steps, {passes:.3g} passes"


def read_curves(space: Workspace, manifest: Manifest) -> TrainingCurves:
    """Read what the picture of a finished run shows from its log and its manifest.

    Args:
        space: The workspace.
        manifest: Manifest of the checkpoint. Earlier versions kept no log: then the curves have no training losses and
            no rates, and a note says so.
    """
    metrics, steps = manifest.metrics, manifest.counts["steps"]
    path = space.path(manifest.name) / TRAINING_LOG
    log: dict[str, list[Any]] = {}
    if path.is_file():
        log = tables.read(path).to_pydict()
    else:
        console.note(
            f"{manifest.name} was trained by a version that kept no log: its picture lacks training loss and "
            "learning rate. 'gti finetune --force' trains again and keeps it"
        )
    rate = manifest.options["learning_rate"]
    return TrainingCurves(
        losses=_points(log, "loss"),
        rates=_points(log, "learning_rate"),
        rows_factor=metrics.get("rows_learning_rate", rate) / rate,
        validations=[(step, value) for step, value in metrics.get(f"{VALID_NDCG}_by_step", [])],
        valid_losses={
            name: (task["valid_loss_before"], task["valid_loss"])
            for name, task in metrics["tasks"].items()
            if "valid_loss" in task
        },
        steps=steps,
        saved_step=manifest.counts.get("best_step", steps),
    )


def draw_training(curves: TrainingCurves, title: str) -> Figure:
    """Draw a run, with a panel for the loss, for the validations if there are any, and for the learning rate.

    Args:
        curves: What to draw.
        title: Title of the picture.

    Returns:
        The picture.
    """
    from matplotlib.figure import Figure

    panels = [_draw_loss]
    if curves.validations:
        panels.append(_draw_validations)
    if curves.rates:
        panels.append(_draw_rates)
    figure = Figure(figsize=(4.4 * max(len(panels), 1.4), 4.2), layout="constrained")
    figure.suptitle(title, fontsize=13, parse_math=False)
    for axis, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        axis.set_xlabel("training step")
        axis.set_xlim(0, curves.steps)
        if curves.saved_step < curves.steps:
            axis.axvline(curves.saved_step, color=ERROR_BAR, linestyle=":", linewidth=1)
        draw(axis, curves)
    return figure


def _draw_loss(axis: Axes, curves: TrainingCurves) -> None:
    """Training loss, raw and smoothed; validation loss before training and with the saved weights."""
    axis.set(title="Loss", ylabel="nats per answer token")
    if curves.losses:
        steps, values = [step for step, _ in curves.losses], [value for _, value in curves.losses]
        axis.plot(steps, values, color=BACKGROUND_SERIES, linewidth=0.7, alpha=0.6, label="training batches")
        axis.plot(steps, smoothed(values), color=COLOURS[0], linewidth=2, label="training, smoothed")
    for number, (task, losses) in enumerate(curves.valid_losses.items(), start=1):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        label = f"validation of {task}: {losses[0]:.3f} → {losses[1]:.3f}"
        look: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "linestyle": "none",
            "markersize": 7,
            "clip_on": False,
            "zorder": 4,
        }
        axis.plot([0, curves.saved_step], losses, **look, label=label)
    axis.legend(fontsize=9, loc="upper right")


def _draw_validations(axis: Axes, curves: TrainingCurves) -> None:
    """NDCG@10 of the validations; the one whose weights were kept is marked."""
    axis.set(title="NDCG@10 of validation items", ylabel="NDCG@10")
    steps, values = [step for step, _ in curves.validations], [value for _, value in curves.validations]
    axis.plot(steps, values, color=COLOURS[2], marker="o", markersize=4, linewidth=1.6, clip_on=False)
    best = dict(curves.validations).get(curves.saved_step)
    if best is not None:
        look: dict[str, Any] = {
            "marker": "*",
            "markersize": 15,
            "color": COLOURS[1],
            "linestyle": "none",
            "clip_on": False,
        }
        label = f"saved: step {curves.saved_step:,}, {best:.4f}"
        axis.plot([curves.saved_step], [best], **look, zorder=4, label=label)
        axis.legend(fontsize=9, loc="lower right")
    axis.set_ylim(bottom=0)


def _draw_rates(axis: Axes, curves: TrainingCurves) -> None:
    """Learning rate of the weights, and of the new rows where they have one of their own."""
    axis.set(title="Learning rate")
    steps, rates = [step for step, _ in curves.rates], [rate for _, rate in curves.rates]
    kinds = [("all weights", 1.0, COLOURS[0], "-")]
    if curves.rows_factor != 1:
        kinds = [("other weights", 1.0, COLOURS[0], "-"), ("new rows", curves.rows_factor, COLOURS[1], "--")]
    for name, factor, colour, dash in kinds:
        own = [rate * factor for rate in rates]
        axis.plot(steps, own, color=colour, linestyle=dash, linewidth=1.8, label=f"{name}: at most {max(own):.2g}")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=9, loc="upper right")


def smoothed(values: Sequence[float]) -> list[float]:
    """The mean of each value and its neighbours, over a twentieth of all values, fewer at both ends."""
    reach = len(values) // _SMOOTHED // 2
    parts = [values[max(n - reach, 0) : n + reach + 1] for n in range(len(values))]
    return [sum(part) / len(part) for part in parts]


def _points(log: Mapping[str, Sequence[Any]], name: str) -> Points:
    """Steps and values of a column, without the steps that have no value."""
    pairs = zip(log.get("step", ()), log.get(name, ()), strict=True)
    return [(step, value) for step, value in pairs if value is not None]
