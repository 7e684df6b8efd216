"""Find the checkpoint that a caller names: in the workspace, in a folder, or on the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gti_cli import console
from gti_cli.checkpoints.configuration import check_number_formats, read_config_file
from gti_cli.checkpoints.hub import checkpoint_names, list_checkpoints, require_on_hub
from gti_cli.checkpoints.loading import load_tokenizer
from gti_cli.checkpoints.new_tokens import (
    NEW_TOKENS_FILE,
    NewTokens,
    find_code_tokens,
    merge_new_tokens,
    read_new_tokens,
)
from gti_cli.checkpoints.quantized import check_config, check_folder
from gti_cli.errors import InputError
from gti_cli.workspace import CHECKPOINT_MANIFEST, Workspace
from gti_cli.workspace.manifest import Manifest, read_manifest
from gti_cli.workspace.refusals import refuse_blend


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint to start from.

    Attributes:
        path: Folder, or name on the hub.
        local: Whether `path` is on this machine.
        manifest: Manifest of the stage that wrote it (None: another tool wrote it).
        artifact: Its name in the workspace (None: it lies elsewhere).
    """

    path: str
    local: bool
    manifest: Manifest | None
    artifact: str | None

    def new_tokens(self) -> NewTokens:
        """Read the list of new tokens; without such a list, they are the tokens that are named like codes.

        Raises:
            InputError: When there is no list and no token is named like a code.
        """
        if not (Path(self.path) / NEW_TOKENS_FILE).is_file():
            code_tokens = find_code_tokens(load_tokenizer(self.path).get_vocab())
            if code_tokens is not None:
                return code_tokens
        return read_new_tokens(self.path)

    def item_tokens(self) -> NewTokens:
        """Read the new tokens, and make sure that the codes are among them.

        The list of a checkpoint to which other words were added later has these words only: the codes are then found
        by their names and put first.

        Raises:
            InputError: As `new_tokens`.
        """
        listed = self.new_tokens()
        if (listed.levels >= 0).any():
            return listed
        code_tokens = find_code_tokens(load_tokenizer(self.path).get_vocab())
        return listed if code_tokens is None else merge_new_tokens(code_tokens, listed)

    def history_length(self, given: int | None, option: str, default: int) -> int:
        """Return how many items of a history a prompt shows at most.

        That is the caller's number if given, else the number that the checkpoint was fine-tuned with. Warns when the
        two differ.

        Args:
            given: The caller's number (None: not given).
            option: Name of the caller's option, for the warning.
            default: Number for a checkpoint whose manifest has none.
        """
        trained = self.manifest.options.get("history") if self.manifest else None
        if given is not None and trained is not None and given != trained:
            console.warn(f"{option} {given}, but the checkpoint was fine-tuned with {trained}")
        return int(given or trained or default)

    def upstream(self) -> dict[str, Manifest]:
        """Return the argument ``upstream`` of `Workspace.stage`: the artifact in the workspace that this is."""
        return {self.artifact: self.manifest} if self.artifact and self.manifest else {}

    def inputs(self) -> dict[str, str]:
        """Return the argument ``inputs`` of `Workspace.stage`: a folder outside the workspace is an input file."""
        return {"checkpoint": self.path} if self.local and not self.artifact else {}


def find_checkpoint(
    workspace: Workspace, given: str | None, default: str, made_by: str, *, hub: bool = True, weights: bool = True
) -> Checkpoint:
    """Find the checkpoint that an option like ``--from`` names: in the workspace, in a folder, or on the hub.

    Args:
        workspace: Searched first.
        given: Name of an artifact in the workspace, path of a folder, or name on the hub (None: ``default``).
        default: Artifact that the stage before writes; it must be in the workspace.
        made_by: Command of that stage, for the error line.
        hub: Whether to ask the hub for a name that is not on this machine. Without, the name is returned as not
            ``local``, and the caller refuses it.
        weights: Whether the caller reads the weights, so that quantized ones are refused. A tokenizer and a list of new
            tokens are as good in a quantized checkpoint.

    Raises:
        InputError: When there is no such checkpoint, the folder holds none, its files changed since they were written,
            its weights are quantized, or its configuration has an unknown number format.
    """
    checkpoint = _find(workspace, given, default, made_by)
    if checkpoint.local:
        if weights:
            check_folder(Path(checkpoint.path))
    elif hub:
        config = require_on_hub(checkpoint.path, workspace)
        if weights and config.is_file():
            content = read_config_file(config)
            check_number_formats(content, checkpoint.path)
            check_config(content, checkpoint.path)
    return checkpoint


def _find(workspace: Workspace, given: str | None, default: str, made_by: str) -> Checkpoint:
    """Find a checkpoint on this machine, or take the name for one on the hub; see `find_checkpoint`."""
    name = default if given is None else given
    inside = workspace.path(name)
    if given is None or (Path(name).name == name and (inside / CHECKPOINT_MANIFEST).is_file()):
        if workspace.manifest(name) is None and checkpoint_names(workspace):
            raise InputError(
                f"{inside} does not exist",
                remedy=f"run {made_by!r} first, or name a checkpoint: {list_checkpoints(workspace)}",
            )
        manifest = workspace.require(name, made_by)
        refuse_blend(manifest, inside)
        return Checkpoint(str(inside), True, manifest, name)
    folder = Path(name)
    if folder.is_dir():
        if folder.resolve().parent == workspace.root.resolve() and (folder / CHECKPOINT_MANIFEST).is_file():
            return _find(workspace, folder.resolve().name, default, made_by)
        if not (folder / "config.json").is_file():
            raise InputError("no config.json: this folder is no Hugging Face checkpoint", where=name)
        own = folder / CHECKPOINT_MANIFEST
        return Checkpoint(name, True, read_manifest(own) if own.is_file() else None, None)
    if folder.exists():
        raise InputError("this is a file, not a checkpoint folder", where=name)
    if name.count("/") > 1 or name.startswith((".", "/")):
        raise InputError("no such folder", where=name, remedy="check the path")
    return Checkpoint(name, False, None, None)


def check_same_ids(checkpoint: Checkpoint, semantic_ids: Manifest) -> None:
    """Refuse a checkpoint that was made from other semantic IDs than the workspace holds.

    A checkpoint whose manifest names no semantic IDs passes.

    Args:
        checkpoint: The checkpoint to check.
        semantic_ids: Manifest of the workspace's semantic IDs.

    Raises:
        InputError: When the identities of the semantic IDs differ.
    """
    made_from = checkpoint.manifest.details.get("semantic_ids") if checkpoint.manifest else None
    if made_from is not None and made_from != semantic_ids.identity:
        raise InputError(
            "the checkpoint was made from other semantic IDs than this workspace holds now",
            where=checkpoint.path,
            remedy="run 'gti extend' and the stages after it again with --force, or use another --workspace",
        )
