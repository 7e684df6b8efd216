"""`gti status`: what the workspace holds, from what it was made, what is stale."""

from __future__ import annotations

from gti_cli import console
from gti_cli.commands.common import DEFAULT_WORKSPACE, JsonOption, QuietOption, WorkspaceOption
from gti_cli.errors import InputError


def status(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE, json_output: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Show what the workspace holds, from what it was made, and what is stale."""
    from gti_cli.workspace import Workspace
    from gti_cli.workspace.lineage import inspect

    console.configure(quiet=quiet, json_output=json_output)
    if not workspace.is_dir():
        raise InputError("there is no such workspace", where=str(workspace), remedy="start with 'gti build-ids ITEMS'")
    found = inspect(Workspace(workspace))
    rows = [
        [
            state.manifest.name,
            state.manifest.command,
            ", ".join(state.sources) or "–",
            str(state.manifest.run.get("finished", ""))[:19].replace("T", " "),
            state.manifest.seconds,
            state.state,
        ]
        for state in found
    ]
    columns = ["artifact", "made by", "from", "finished (UTC)", "seconds", "state"]
    console.table(str(workspace), columns, rows, spare=("seconds", "finished (UTC)"))
    if not rows:
        console.say("Nothing here yet: start with 'gti build-ids ITEMS'.")
    console.result(
        {
            "workspace": str(workspace),
            "artifacts": [
                {"name": s.manifest.name, "stale": s.reasons, "manifest": s.manifest.to_json()} for s in found
            ],
        }
    )
