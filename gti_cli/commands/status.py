"""`gti status`: the artifacts of a workspace, their sources, and which are stale."""

from __future__ import annotations

from gti_cli import console
from gti_cli.commands.options import DEFAULT_WORKSPACE, CommonOptions, WorkspaceOption, expand_options
from gti_cli.errors import InputError


def _status(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    common: CommonOptions = CommonOptions(),
) -> None:
    """Show what the workspace holds, from what it was made, and what is stale."""
    from gti_cli.workspace import Workspace
    from gti_cli.workspace.lineage import inspect

    common.configure_console()
    if not workspace.is_dir():
        raise InputError("there is no such workspace", where=str(workspace), remedy="start with 'gti build-ids ITEMS'")
    artifacts = inspect(Workspace(workspace))
    rows = [
        [
            artifact.manifest.name,
            artifact.manifest.command,
            ", ".join(artifact.sources) or "–",
            str(artifact.manifest.run.get("finished", ""))[:19].replace("T", " "),
            artifact.manifest.seconds,
            artifact.state,
        ]
        for artifact in artifacts
    ]
    columns = ["artifact", "made by", "from", "finished (UTC)", "seconds", "state"]
    console.table(str(workspace), columns, rows, dispensable=("seconds", "finished (UTC)"))
    if not rows:
        console.say("Nothing here yet: start with 'gti build-ids ITEMS'.")
    console.result(
        {
            "workspace": str(workspace),
            "artifacts": [
                {
                    "name": artifact.manifest.name,
                    "stale": artifact.reasons,
                    "manifest": artifact.manifest.to_json(),
                }
                for artifact in artifacts
            ],
        }
    )


status = expand_options(_status, common=("json_output", "quiet"))
