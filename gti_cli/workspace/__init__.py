"""The workspace: a folder in which stages exchange files, each with a manifest that says how it was made."""

from gti_cli.workspace.files import write_json
from gti_cli.workspace.manifest import CHECKPOINT_MANIFEST
from gti_cli.workspace.names import check_output_name
from gti_cli.workspace.stage_run import StageRun
from gti_cli.workspace.workspace import Workspace

__all__ = ["CHECKPOINT_MANIFEST", "StageRun", "Workspace", "check_output_name", "write_json"]
