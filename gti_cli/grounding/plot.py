"""A picture of a grounding run: training loss and the figures of the evaluations, over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import tables
from gti_cli.plot_style import BACKGROUND_SERIES, COLOURS, DASHES, MARKERS, save_picture, style
from gti_cli.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAJECTORY = "trajectory.parquet"  # in the checkpoint's folder; columns as `evaluations.trajectory` makes them
_SERIES = 4  # styles that a panel's lines use in turn


def plot_curves(workspace: Path | str, name: str = "grounded") -> list[Path]:
    """Draw the trajectory of a grounded checkpoint as ``NAME_curves.png`` and ``.svg``.

    The files go beside the checkpoint's folder, not into it: later stages check that the folder's content is unchanged.

    Args:
        workspace: The workspace.
        name: NAME, the checkpoint's folder in it.

    Returns:
        Paths of the two files.

    Raises:
        InputError: When the workspace has no such checkpoint.
    """
    space = Workspace(workspace)
    manifest = space.require(name, "gti ground")
    curve = tables.read(space.path(name) / TRAJECTORY).to_pydict()
    title = f"Grounding of {manifest.details['new_tokens']:,} new tokens of {manifest.details.get('model', name)}"
    with style():
        figure = draw(curve, title)
    return save_picture(figure, space.path(f"{name}_curves"))


def draw(curve: dict[str, list[Any]], title: str) -> Figure:
    """Draw a trajectory, with one panel for each kind of figure that it holds; the loss always has a panel.

    Args:
        curve: Columns of `evaluations.trajectory`.
        title: Title of the figure.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    accuracy = {name: f"level {name.rpartition('_')[2]}" for name in curve if name.startswith("accuracy_level_")}
    losses = {"loss_to_tokens": "held-out, text → tokens", "loss_to_text": "held-out, tokens → text"}
    ranks = {"effective_rank": "embedding", "output_effective_rank": "head"}
    agreement = {"rsa_pearson": "Pearson", "rsa_spearman": "Spearman"}
    agreement |= {f"output_{key}": f"{label}, head" for key, label in agreement.items()}
    behind = {"loss_following": "behind the token", "loss_following_phrase": "behind the phrase"}
    if "hidden_distance" in curve:  # A distillation: its loss is not a log-likelihood and has no directions.
        losses = {"held_out_loss": "held-out contexts"}
    loss_unit = "nats per answer token" if "loss_to_tokens" in curve or "loss_to_text" in curve else "objective"
    panels = [
        ("Loss", loss_unit, _present(curve, losses)),
        ("Hidden states: token from phrase (held-out)", "distance", _present(curve, {"hidden_distance": "relative"})),
        ("Text that follows (held-out)", "nats per token", _present(curve, behind)),
        ("Codes right, given those before (held-out)", "share of codes", _present(curve, accuracy)),
        ("Effective rank of the new rows", "effective rank", _present(curve, ranks)),
        ("Agreement of rows with codebooks (RSA)", "correlation of cosines", _present(curve, agreement)),
    ]
    shown = [panel for panel in panels if panel[2] or panel[0] == "Loss"]
    figure = Figure(figsize=(5.2 * min(len(shown), 2), 3.6 * ((len(shown) + 1) // 2)), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots((len(shown) + 1) // 2, min(len(shown), 2), squeeze=False).ravel()
    for axis, (heading, unit, labels) in zip(axes, shown, strict=False):
        if heading == "Loss":
            training = _points(curve, "loss")
            axis.plot(*training, color=BACKGROUND_SERIES, linewidth=0.9, label="training batches")
        _lines(axis, curve, labels)
        axis.set(title=heading, xlabel="training step", ylabel=unit)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=8, frameon=False)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    return figure


def _present(curve: dict[str, list[Any]], labels: dict[str, str]) -> dict[str, str]:
    """The labels of the columns that have at least one value."""
    return {name: label for name, label in labels.items() if any(value is not None for value in curve.get(name, ()))}


def _lines(axis: Axes, curve: dict[str, list[Any]], labels: dict[str, str]) -> None:
    for number, (name, label) in enumerate(labels.items()):
        number %= _SERIES
        look = {"color": COLOURS[number], "linestyle": (*DASHES[:3], ":")[number], "marker": MARKERS[number]}
        axis.plot(*_points(curve, name), **look, markersize=4, linewidth=1.3, label=label)


def _points(curve: dict[str, list[Any]], name: str) -> tuple[Sequence[int], Sequence[float]]:
    """Steps and values of a column, without the steps that have no value."""
    points = [(step, value) for step, value in zip(curve["step"], curve[name], strict=True) if value is not None]
    return [step for step, _ in points], [value for _, value in points]
