"""The last lines that a command prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import console

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest


def print_outcome(manifest: Manifest, path: Path) -> None:
    """Print where the output lies and how long it took; with ``--json`` the manifest instead."""
    console.say(f"{path}  ({manifest.seconds:,.1f} s)")
    console.result(manifest.to_json())
