"""Find the model to extend: a folder, a model of the hub, or a GGUF file."""

from __future__ import annotations

from pathlib import Path

from gti_cli.checkpoints.finding import Checkpoint, find_checkpoint
from gti_cli.checkpoints.loading import translate_loading_errors
from gti_cli.tensors.safetensors_rows import INDEX_FILE, SINGLE_FILE
from gti_cli.vocabulary import gguf
from gti_cli.workspace import Workspace


def find_base(space: Workspace, model: str) -> Checkpoint:
    """Find what ``--model`` names: a checkpoint in the workspace, a folder or a hub model, or a GGUF file.

    Args:
        space: The workspace.
        model: The name or path.

    Raises:
        InputError: When there is no such model, or it cannot be read.
    """
    if model.lower().endswith(gguf.SUFFIX):
        gguf.check_file(Path(model))
        return Checkpoint(model, True, None, None)
    return find_checkpoint(space, model, model, "gti extend")


def is_gguf(base: Checkpoint) -> bool:
    """Return whether the model is a GGUF file."""
    return base.path.lower().endswith(gguf.SUFFIX)


def safetensors_folder(base: Checkpoint) -> Path | None:
    """Return the folder with the model's configuration and safetensors, or None if it has no safetensors.

    Of a hub model these files, and no others, are downloaded first.

    Raises:
        InputError: When the hub has no such model or cannot be reached.
    """
    if is_gguf(base):
        return None
    folder = Path(base.path) if base.local else _download(base.path)
    has_weights = (folder / SINGLE_FILE).is_file() or (folder / INDEX_FILE).is_file()
    return folder if has_weights else None


def _download(name: str) -> Path:
    """Download configuration and weights of a hub model into the cache, and return their folder."""
    from transformers.utils.hub import cached_file, get_checkpoint_shard_files

    with translate_loading_errors(name):
        config = cached_file(name, "config.json")
        for optional in (SINGLE_FILE, "generation_config.json"):
            cached_file(name, optional, _raise_exceptions_for_missing_entries=False)
        folder = Path(str(config)).parent
        if not (folder / SINGLE_FILE).is_file():
            index = cached_file(name, INDEX_FILE, _raise_exceptions_for_missing_entries=False)
            if index is not None:
                get_checkpoint_shard_files(name, index)  # type: ignore[no-untyped-call]
    return folder
