"""Find the checkpoint that a caller names: in the workspace, in a folder, or on the hub."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.checkpoints.adapters.folder import OTHER_BASE, Adapter, find_adapter, read_adapter
from gti_cli.checkpoints.adapters.merging import load_merged, merged_embeddings
from gti_cli.checkpoints.configuration import check_number_formats, load_config, read_config_file
from gti_cli.checkpoints.embeddings import Embeddings, find_embeddings, say_if_not_tied
from gti_cli.checkpoints.hub import (
    checkpoint_names,
    download_revision,
    list_checkpoints,
    require_on_hub,
    split_revision,
)
from gti_cli.checkpoints.loading import has_tokenizer, load_model, load_tokenizer
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

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint to start from: a whole model, or an adapter and the base model that it is merged into.

    Attributes:
        path: Folder, or name on the hub.
        local: Whether `path` is on this machine.
        manifest: Manifest of the stage that wrote it (None: another tool wrote it, as it does adapters).
        artifact: Its name in the workspace (None: it lies elsewhere).
        adapter: The adapter in this folder (None: it holds a whole model).
        base: The adapter's base model.
        rows_not_tied: Number of rows in which the stored head differs from the embedding although the configuration
            ties them.
        pinned: Name and revision on the hub, where the caller gave both; `path` is then the folder in its cache.
    """

    path: str
    local: bool
    manifest: Manifest | None
    artifact: str | None
    adapter: Adapter | None = None
    base: Checkpoint | None = None
    rows_not_tied: int = 0
    pinned: str | None = None

    @property
    def known_manifest(self) -> Manifest | None:
        """Manifest of the checkpoint, or of an adapter's base: what is known of its tokens and its prompts."""
        return self.base.manifest if self.base is not None else self.manifest

    def beside(self, name: str) -> Path:
        """Return the path of a file in the checkpoint's folder; of an adapter's base where the adapter lacks it."""
        own = Path(self.path) / name
        return Path(self.base.path) / name if self.base is not None and not own.is_file() else own

    def load_config(self) -> PreTrainedConfig:
        """Load the model's configuration."""
        return load_config(self.path if self.base is None else self.base.path)

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the tokenizer; an adapter without one has that of its base.

        Raises:
            InputError: As `gti_cli.checkpoints.loading.load_tokenizer`.
        """
        return load_tokenizer(self.path if self.base is None or has_tokenizer(Path(self.path)) else self.base.path)

    def load_model(self, device: torch.device, dtype: torch.dtype | str) -> PreTrainedModel:
        """Load the model in evaluation mode, with an adapter merged into its weights.

        Args:
            device: Device to load onto.
            dtype: Number format of the weights (``"auto"``: as they are stored).

        Raises:
            InputError: As `gti_cli.checkpoints.loading.load_model` and `gti_cli.checkpoints.adapters.load_merged`.
        """
        if self.adapter is None or self.base is None:
            return load_model(self.path, device, dtype)
        return load_merged(self.adapter, self.base.path, device, dtype)

    def embeddings(self) -> Embeddings:
        """Return the matrices with a row for each token: in the files, or as they are after merging an adapter.

        Raises:
            InputError: When they cannot be found, or the adapter cannot be merged.
        """
        if self.adapter is None or self.base is None:
            return find_embeddings(Path(self.path))
        return merged_embeddings(self.adapter, self.base.path)

    def new_tokens(self) -> NewTokens:
        """Read the list of new tokens; without such a list, they are the tokens that are named like codes.

        Raises:
            InputError: When there is no list and no token is named like a code.
        """
        listed = self.beside(NEW_TOKENS_FILE)
        if not listed.is_file():
            code_tokens = find_code_tokens(self.load_tokenizer().get_vocab())
            if code_tokens is not None:
                return code_tokens
        return read_new_tokens(self.path if self.base is None else listed.parent)

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
        code_tokens = find_code_tokens(self.load_tokenizer().get_vocab())
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
        trained = self.known_manifest.options.get("history") if self.known_manifest else None
        if given is not None and trained is not None and given != trained:
            console.warn(f"{option} {given}, but the checkpoint was fine-tuned with {trained}")
        return int(given or trained or default)

    def upstream(self) -> dict[str, Manifest]:
        """Return the argument ``upstream`` of `Workspace.stage`: the artifact that this is, or an adapter's base."""
        if self.base is not None:
            return self.base.upstream()
        return {self.artifact: self.manifest} if self.artifact and self.manifest else {}

    def inputs(self) -> dict[str, str]:
        """Return the argument ``inputs`` of `Workspace.stage`: folders outside the workspace are input files."""
        own = {"checkpoint": self.path} if self.local and not self.artifact else {}
        base = self.base.inputs() if self.base is not None else {}
        return {**own, "base": base["checkpoint"]} if base else own

    def details(self) -> dict[str, Any]:
        """Return what a manifest says about an adapter, and about a head that differs from a tied embedding."""
        details: dict[str, Any] = {"head_rows_not_tied": self.rows_not_tied} if self.rows_not_tied else {}
        if self.adapter is not None and self.base is not None:
            base = self.base.artifact or (Path(self.base.path).name if self.base.local else self.base.path)
            details["adapter"] = {"kind": self.adapter.kind, "base": base}
        return details


def find_checkpoint(
    workspace: Workspace,
    given: str | None,
    default: str,
    made_by: str,
    *,
    hub: bool = True,
    weights: bool = True,
    adapters: bool = False,
    base: str | None = None,
) -> Checkpoint:
    """Find the checkpoint that an option like ``--from`` names: in the workspace, in a folder, or on the hub.

    Args:
        workspace: Searched first.
        given: Name of an artifact, path of a folder, or ``NAME`` or ``NAME@REVISION`` on the hub. None: ``default``.
        default: Artifact that the stage before writes; it must be in the workspace.
        made_by: Command of that stage, for the error line.
        hub: Whether to ask the hub for a name that is not on this machine. Without, the name is returned as not
            ``local``, and the caller refuses it.
        weights: Whether the caller reads the weights, so that quantized ones are refused. A tokenizer and a list of new
            tokens are as good in a quantized checkpoint.
        adapters: Whether the caller takes an adapter of PEFT, with the methods of `Checkpoint`.
        base: Base model of an adapter, named as ``given`` (None: the one that its ``adapter_config.json`` names).

    Raises:
        InputError: When there is no such checkpoint, the folder holds none, its files changed since they were written,
            its weights are quantized, or its configuration has an unknown number format.
        InputError: When it is an adapter and the caller takes none, or its base is not there.
    """
    checkpoint = _find(workspace, given, default, made_by)
    if not checkpoint.local and hub and split_revision(checkpoint.path)[1] is not None:
        folder = download_revision(checkpoint.path, workspace, weights=weights)
        checkpoint = replace(_find(workspace, str(folder), default, made_by), pinned=checkpoint.path)
    if checkpoint.adapter is not None:
        if not adapters:
            raise InputError(
                "an adapter (PEFT), and this command reads whole checkpoints",
                where=checkpoint.path,
                remedy="merge it with its base: 'gti diagnose FOLDER --merge-into NAME', then give NAME",
            )
        return replace(checkpoint, base=_find_base(workspace, checkpoint, checkpoint.adapter, base, made_by))
    if base is not None:
        raise InputError(
            "--base is for adapters, and this is a whole checkpoint", where=checkpoint.path, remedy="leave --base out"
        )
    if checkpoint.local and weights:
        check_folder(Path(checkpoint.path))
        checkpoint = replace(checkpoint, rows_not_tied=say_if_not_tied(Path(checkpoint.path)))
    elif hub and not checkpoint.local:
        config = require_on_hub(checkpoint.path, workspace)
        if weights and config.is_file():
            content = read_config_file(config)
            check_number_formats(content, checkpoint.path)
            check_config(content, checkpoint.path)
    return checkpoint


def _find_base(
    workspace: Workspace, checkpoint: Checkpoint, adapter: Adapter, given: str | None, made_by: str
) -> Checkpoint:
    """Find the base model of an adapter."""
    name = given or adapter.base_name
    remedy = f"{OTHER_BASE}: {list_checkpoints(workspace)}"
    if name is None:
        raise InputError("its adapter_config.json does not name its base model", where=checkpoint.path, remedy=remedy)
    try:
        return find_checkpoint(workspace, name, name, made_by)
    except InputError as error:
        if given is not None:
            raise
        problem = f"its base model cannot be used: {error.where or name}: {error.problem}"
        raise InputError(problem, where=checkpoint.path, remedy=remedy) from error


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
        refuse_blend(manifest := workspace.require(name, made_by), inside)
        return Checkpoint(str(inside), True, manifest, name)
    folder = Path(name)
    adapter = find_adapter(workspace, name)
    if adapter is not None:
        return Checkpoint(str(adapter), True, None, None, read_adapter(adapter))
    if folder.is_dir():
        if folder.resolve().parent == workspace.root.resolve() and (folder / CHECKPOINT_MANIFEST).is_file():
            return _find(workspace, folder.resolve().name, default, made_by)
        if not (folder / "config.json").is_file():
            raise InputError("no config.json: this folder is no Hugging Face checkpoint", where=name)
        own = folder / CHECKPOINT_MANIFEST
        return Checkpoint(name, True, read_manifest(own) if own.is_file() else None, None)
    if folder.exists():
        raise InputError("this is a file, not a checkpoint folder", where=name)
    if split_revision(name)[0].count("/") > 1 or name.startswith((".", "/")):
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
    manifest = checkpoint.known_manifest
    made_from = manifest.details.get("semantic_ids") if manifest else None
    if made_from is not None and made_from != semantic_ids.identity:
        raise InputError(
            "the checkpoint was made from other semantic IDs than this workspace holds now",
            where=checkpoint.path,
            remedy="run 'gti extend' and the stages after it again with --force, or use another --workspace",
        )
