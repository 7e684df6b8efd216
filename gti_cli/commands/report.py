"""`gti report`: one HTML page about a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gti_cli import console
from gti_cli.commands.options import DEFAULT_WORKSPACE, CommonOptions, WorkspaceOption, expand_options


def _report(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The page (default: report.html in the workspace)."),
    ] = None,
    histories: Annotated[
        int, typer.Option("--histories", help="Number of users to show with their recommendations.")
    ] = 20,
    common: CommonOptions = CommonOptions(),
) -> None:
    """Write one page about the workspace: lineage, IDs, training, evaluation, diagnosis, recommendations."""
    common.configure_console()
    from gti_cli.pages.report import report as stage

    path = stage(workspace, output=output, histories=histories)
    console.say(str(path))
    console.result({"report": str(path)})


report = expand_options(_report, common=("json_output", "quiet"))
