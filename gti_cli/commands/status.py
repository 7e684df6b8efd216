"""`gti status`: what the workspace holds, from what it was made, what is stale."""

from __future__ import annotations

from gti_cli import console
from gti_cli.commands.common import DEFAULT_WORKSPACE, JsonOption, QuietOption, WorkspaceOption


def status(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE, json_output: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Show what the workspace holds, from what it was made, and what is stale."""
    console.configure(quiet=quiet, json_output=json_output)
    raise NotImplementedError
