"""The last lines that a command prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import console

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest


SHORT = 0.5  # passes: of shorter runs, most targets were never seen


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


def print_outcome(manifest: Manifest, path: Path) -> None:
    """Print where the output lies and how long it took; with ``--json`` the manifest instead."""
    console.say(f"{path}  ({manifest.seconds:,.1f} s)")
    console.result(manifest.to_json())
