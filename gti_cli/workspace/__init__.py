"""The workspace: a folder in which the stages meet in files, each with a manifest that says how it was made."""

from gti_cli.workspace.manifest import CHECKPOINT_MANIFEST
from gti_cli.workspace.staging import StageRun, write_json
from gti_cli.workspace.workspace import Workspace, check_output_name

__all__ = ["CHECKPOINT_MANIFEST", "StageRun", "Workspace", "check_output_name", "write_json"]
