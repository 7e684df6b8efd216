"""The last lines that a command prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import console

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest


SHORT = 0.5  # passes: of shorter runs, most targets were never seen


STILL = 0.2  # of the distance between pretrained rows: new rows that moved less are close to where they started


def note_short_run(manifest: Manifest, over: str, consequence: str) -> None:
    """Print a note where a training was told to end before half a pass, so that nobody takes it for a finished one.

    A run that stopped by itself, because it learned nothing any more, is no such run.

    Args:
        manifest: Manifest of the training.
        over: What a pass goes over, such as ``pairs``.
        consequence: What to expect of so short a run.
    """
    passes, steps = manifest.metrics["epochs"], manifest.counts["steps"]
    if passes < SHORT and steps == manifest.counts.get("steps_planned", steps):
        console.note(
            f"this run made {passes:.3g} passes over the {over}, so it never saw most of them: {consequence}. "
            "More --max-steps, or --epochs alone, train longer"
        )


def note_small_movement(manifest: Manifest) -> None:
    """Print a note where grounding was told to end before the new rows had moved.

    A pass over few pairs is few steps. A run that stopped by itself has found nothing more to learn, and a run that
    `note_short_run` names is not named twice.

    Args:
        manifest: Manifest of the grounding.
    """
    metrics, counts = manifest.metrics, manifest.counts
    spread, steps = metrics.get("pretrained_rows_spread"), counts["steps"]
    ended_early = steps != counts.get("steps_planned", steps)
    if not spread or metrics["epochs"] < SHORT or ended_early or metrics["rows_moved"] >= STILL * spread:
        return
    console.note(
        f"{steps:,} step{'s' if steps > 1 else ''} moved the new rows by {metrics['rows_moved']:.2g} a coordinate, "
        f"{metrics['rows_moved'] / spread:.1%} of the distance between pretrained rows: they are still close to where "
        "they started. More --epochs or --max-steps, or a smaller --batch-size, train longer"
    )


def print_outcome(manifest: Manifest, path: Path) -> None:
    """Print where the output lies and how long it took; with ``--json`` the manifest instead."""
    console.say(f"{path}  ({manifest.seconds:,.1f} s)")
    console.result(manifest.to_json())
