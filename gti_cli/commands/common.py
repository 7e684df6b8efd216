"""Options that every command has, and the little that commands share. Imports nothing heavy: ``--help`` is instant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gti_cli import console
from gti_cli.errors import InputError

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest

WorkspaceOption = Annotated[
    Path,
    typer.Option(
        "--workspace", "-w", envvar="GTI_WORKSPACE", help="Folder in which the stages meet.", show_default=True
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of everything random.", rich_help_panel="Common")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel="Common")
]
DtypeOption = Annotated[str, typer.Option("--dtype", help="auto, float32 or bfloat16.", rich_help_panel="Common")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.", rich_help_panel="Common")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and notes on stderr.", rich_help_panel="Common")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace a finished output made otherwise.", rich_help_panel="Common")
]
NoResumeOption = Annotated[
    bool, typer.Option("--no-resume", help="Start over instead of resuming interrupted work.", rich_help_panel="Common")
]

DEFAULT_WORKSPACE = Path("gti-workspace")


def numbers(text: str, option: str) -> list[int]:
    """Parse ``"5,10,20"``; positive whole numbers only.

    Raises:
        InputError: anything else.
    """
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or min(values) < 1:
        raise InputError(f"{option} {text!r} is no list of positive whole numbers", remedy="write for example 5,10,20")
    return values


def names(text: str) -> list[str]:
    """Parse ``"title,brand"``."""
    return [part.strip() for part in text.split(",") if part.strip()]


def finish(manifest: Manifest, where: Path) -> None:
    """End a command: say where the output lies (table mode) or print the manifest (``--json``)."""
    console.say(f"{where}  ({manifest.seconds:,.1f} s)")
    console.result(manifest.to_json())
