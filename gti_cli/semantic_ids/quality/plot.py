"""Pictures of the quality of semantic IDs, drawn from a manifest's metrics and an RQ-VAE's history."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

from gti_cli import tables
from gti_cli.plot_style import COLOURS, SUFFIXES, save_picture, style
from gti_cli.semantic_ids.artifact import HISTORY, NAME
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest

_TITLE = 34  # characters of a title that fit beside the bars
# Lines that can be told apart without colour.
_STYLES = ("-", "--", ":", "-.")
_DARK, _LIGHT = COLOURS[0], COLOURS[4]


def plot_quality(workspace: Path | str) -> list[Path]:
    """Write ``semantic_ids.png`` and ``.svg`` beside the artifact, and ``rqvae_history.*`` for an RQ-VAE.

    Four panels: use and perplexity by level, explained variance by number of levels, neighbours kept and purity by
    length of the prefix, the fullest first codes.

    Returns:
        The paths of the pictures.

    Raises:
        InputError: When the workspace has no semantic IDs.
    """
    space = Workspace(workspace)
    manifest = space.require(NAME, "gti build-ids")
    paths = _save(space.root / NAME, lambda figure: _draw_quality(figure, manifest), (11, 7.5))
    if HISTORY in manifest.outputs:
        history = tables.read(space.path(HISTORY)).to_pydict()
        paths += _save(space.root / Path(HISTORY).stem, lambda figure: _draw_history(figure, history), (11, 3.6))
    return paths


def remove_pictures(space: Workspace) -> None:
    """Delete pictures of IDs that were replaced, so that nobody takes them for pictures of the new IDs."""
    for stem in (NAME, Path(HISTORY).stem):
        for suffix in SUFFIXES:
            space.path(stem + suffix).unlink(missing_ok=True)


def _save(stem: Path, draw: Callable[[Any], None], size: tuple[float, float]) -> list[Path]:
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
    return save_picture(figure, stem)


def _draw_quality(figure: Any, manifest: Manifest) -> None:
    # One subfigure for each row: long labels in the lower row must not squeeze the upper one.
    top, bottom = figure.subfigures(2, 1)
    (use, variance), (meaning, fullest) = top.subplots(1, 2), bottom.subplots(1, 2)
    metrics, counts = manifest.metrics, manifest.counts
    figure.suptitle(
        f"{counts['items']:,} items, {manifest.details['quantizer']} on {manifest.details['encoder']} embeddings; "
        f"items in collisions {metrics['collisions_before']['items']:,} → {metrics['collisions_after']['items']:,} "
        f"({manifest.details['collisions']})"
    )
    levels = metrics["levels"]
    places = [entry["level"] for entry in levels]
    use.bar([p - 0.2 for p in places], [entry["use"] for entry in levels], 0.4, label="used codes", color=_DARK)
    evenness = [entry["perplexity"] / entry["codes"] for entry in levels]
    use.bar([p + 0.2 for p in places], evenness, 0.4, color=_LIGHT, hatch="//", label="perplexity / codes")
    use.set(title="Use of the codes", xlabel="level", ylabel="share", ylim=(0, 1.3), xticks=places)
    use.legend(loc="upper right", ncols=2, fontsize=8)
    quantized = [entry for entry in levels if "explained_variance" in entry]  # A suffix level has none.
    counts_of_levels = [entry["level"] + 1 for entry in quantized]
    variance.plot(counts_of_levels, [entry["explained_variance"] for entry in quantized], "o-")
    variance.set(title="Explained variance of the embeddings", xlabel="levels used", ylim=(0, 1.05))
    variance.set_xticks(counts_of_levels)
    _draw_meaning(meaning, metrics)
    shown = metrics["fullest_prefixes"][::-1]  # barh draws upwards; the fullest belongs at the top.
    fullest.barh(range(len(shown)), [entry["items"] for entry in shown])
    fullest.set_yticks(range(len(shown)), [_label(entry) for entry in shown], fontsize=7, parse_math=False)
    fullest.set(title="The fullest first codes", xlabel="items")


def _label(entry: dict[str, Any]) -> str:
    title = entry["titles"][0] if entry["titles"] else ""
    return f"{entry['prefix']} {title if len(title) <= _TITLE else title[: _TITLE - 1] + '…'}"


def _draw_meaning(axes: Any, metrics: dict[str, Any]) -> None:
    near = metrics["neighbourhood"]["prefixes"]
    axes.plot([e["depth"] for e in near], [e["recall"] for e in near], "o-", label="neighbours kept")
    axes.plot([e["depth"] for e in near], [e["by_chance"] for e in near], "o:", color=COLOURS[0], label="by chance")
    for column, entries in metrics.get("purity", {}).items():
        depths = [entry["depth"] for entry in entries]
        axes.plot(depths, [e["purity"] for e in entries], "s-", color=COLOURS[1], label=f"purity of {column}")
        axes.plot(depths, [e["shuffled"] for e in entries], "s:", color=COLOURS[1], label="shuffled")
    axes.set(title="What a shared prefix means", xlabel="codes in the prefix", ylim=(0, 1.05))
    axes.set_xticks(range(1, len(metrics["levels"]) + 1))
    axes.legend(fontsize=8)


def _draw_history(figure: Any, history: dict[str, list[Any]]) -> None:
    loss, use, collisions = figure.subplots(1, 3)
    epochs = history["epoch"]
    styles = cycle(_STYLES)
    for name in ("train_reconstruction", "train_quantisation"):
        loss.plot(epochs, history[name], next(styles), label=name.replace("_", " "))
    checks = [row for row, value in enumerate(history["reconstruction"]) if value is not None]
    at = [epochs[row] for row in checks]

    def values(name: str) -> list[float]:
        """A column at the epochs with a check."""
        return [history[name][row] for row in checks]

    loss.plot(at, values("reconstruction"), "o-", markersize=3, label="reconstruction, as used")
    loss.set(title="Loss", xlabel="epoch", ylabel="mean squared error", yscale="log")
    loss.legend(fontsize=8)
    styles = cycle(_STYLES)
    for name in (name for name in history if name.startswith("use_")):
        use.plot(at, values(name), next(styles), label=name.replace("use_", "level "))
    use.set(title="Used codes", xlabel="epoch", ylabel="share", ylim=(0, 1.05))
    use.legend(fontsize=8)
    collisions.plot(at, values("collisions"))
    collisions.set(title="Collisions", xlabel="epoch", ylabel="items less tuples")
    collisions.set_ylim(bottom=0)
