"""Check that a name is a model on the Hugging Face hub or in its cache, and report a hub that does not answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gti_cli import console, network
from gti_cli.checkpoints.new_tokens import NEW_TOKENS_FILE
from gti_cli.checkpoints.saving import PRIOR_FILE
from gti_cli.errors import InputError, first_line, list_names
from gti_cli.workspace import CHECKPOINT_MANIFEST, Workspace

# What a checkpoint has beside its weights, and no code.
_SMALL_FILES = (
    *("*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.spm", "README.md", "LICENSE*"),
    NEW_TOKENS_FILE,
)
# What it has in folders of its own. Other folders hold copies of the weights for other programs. The configuration is
# among the patterns because the hub's library warns where no file of the model matches.
_FILES_IN_FOLDERS = ("config.json", PRIOR_FILE, "additional_chat_templates/*.jinja")


def require_on_hub(name: str, workspace: Workspace) -> Path:
    """Make sure that the hub, or its local cache without the network, has a model of this name.

    Asking once for the configuration gives one clear error, before transformers asks for each file of a tokenizer and a
    model.

    Args:
        name: Name of the model, such as ``"Qwen/Qwen3-0.6B"``.
        workspace: Its checkpoints are listed in the error line, because the name may be one of them, mistyped.

    Returns:
        The model's ``config.json`` in the cache.

    Raises:
        InputError: When the hub has no such model or does not answer.
    """
    from transformers.utils.hub import cached_file

    try:
        with waiting_for_hub(name):
            return Path(str(cached_file(name, "config.json")))
    except (OSError, ValueError) as error:  # ValueError: the name breaks the hub's rules for names
        raise InputError(
            f"no such checkpoint, folder or hub model: {first_line(error)}",
            where=name,
            remedy=f"check the name: {list_checkpoints(workspace)}",
        ) from error


def split_revision(name: str) -> tuple[str, str | None]:
    """Split ``OWNER/NAME@REVISION``, where the revision may be missing; names on the hub have no ``@`` themselves."""
    model, at, revision = name.partition("@")
    return model, revision if at else None


def download_revision(name: str, workspace: Workspace, *, weights: bool) -> Path:
    """Bring a model of the hub into its cache as it was at a revision, and return the folder.

    Args:
        name: ``OWNER/NAME@REVISION``. The revision is a branch, a tag or a commit.
        workspace: Its checkpoints are listed in the error line.
        weights: Whether the weights are wanted, too.

    Raises:
        InputError: When the hub has no such model or revision, or does not answer and the cache lacks it.
    """
    from huggingface_hub import snapshot_download

    model, revision = split_revision(name)
    try:
        with waiting_for_hub(model):
            folder = Path(
                snapshot_download(
                    model,
                    revision=revision,
                    allow_patterns=[*_SMALL_FILES, *(["*.safetensors"] if weights else [])],
                    ignore_patterns=["*/*"],
                )
            )
            # Folders are ignored above: a pattern's `*` matches slashes, too. The name of `folder` is the commit.
            snapshot_download(model, revision=folder.name, allow_patterns=list(_FILES_IN_FOLDERS))
            return folder
    except (OSError, ValueError) as error:
        raise InputError(
            f"no such model or revision: {first_line(error)}",
            where=name,
            remedy=f"check name and revision, and the network: {list_checkpoints(workspace)}",
        ) from error


def checkpoint_names(workspace: Workspace) -> list[str]:
    """List the checkpoints of a workspace, in the order in which they were made."""
    return [
        name
        for name, manifest in workspace.manifests().items()
        # A blend lies in a folder of its own, too, but it is no model.
        if (workspace.path(name) / CHECKPOINT_MANIFEST).is_file() and manifest.command != "blend"
    ]


def list_checkpoints(workspace: Workspace) -> str:
    """Say which checkpoints a workspace holds, as a phrase for an error line."""
    return f"workspace {workspace.root} holds {list_names(checkpoint_names(workspace)) or 'no checkpoint'}"


def file_of_checkpoint(folder: str, local: bool, name: str) -> Path | None:
    """Return the path of a file of a checkpoint, for one on the hub in its cache. None: the checkpoint lacks it.

    Args:
        folder: Folder of the checkpoint, or its name on the hub.
        local: Whether it is a folder.
        name: Path of the file in it.
    """
    if local:
        return Path(folder) / name if (Path(folder) / name).is_file() else None
    from transformers.utils.hub import cached_file

    try:
        with waiting_for_hub(folder):
            file: str | None = cached_file(
                folder,
                name,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
                _raise_exceptions_for_gated_repo=False,
            )
    except (OSError, ValueError, RecursionError):  # the model was found before: what is not found is not there
        return None
    return Path(file) if file is not None else None


@contextmanager
def waiting_for_hub(name: str) -> Iterator[None]:
    """Print one note if the hub does not answer, instead of the two lines of its library for each of many retries.

    A hub that cannot be reached at all is not asked: the library then reads its cache.

    Args:
        name: Name of the model, for the note; nobody is asked for a folder of this machine.
    """
    if not Path(name).exists():
        network.hub_answers(name)
    retries = _RetryFilter(name)
    handlers = logging.getLogger("huggingface_hub").handlers[:]
    for handler in handlers:
        handler.addFilter(retries)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(retries)


class _RetryFilter(logging.Filter):
    """Drop the log lines about retries, and print one note at the first of them; all other lines pass."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name, self._note_printed = name, False

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the library's line is shown."""
        line = record.getMessage()
        if "thrown while requesting" not in line and "[Retry " not in line:
            return True
        if not self._note_printed:
            console.note(f"{self._name}: no such folder here, and the hub does not answer; waiting")
        self._note_printed = True
        return False
