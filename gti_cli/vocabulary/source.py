"""Where the model to extend lies: a folder, the cache of a hub, or a GGUF file."""

from __future__ import annotations

from pathlib import Path

from gti_cli.checkpoints.finding import Checkpoint, find_checkpoint
from gti_cli.checkpoints.loading import translate_loading_errors
from gti_cli.tensors.safetensors_rows import INDEX_FILE, SINGLE_FILE
from gti_cli.vocabulary import gguf
from gti_cli.workspace import Workspace


def find_base(space: Workspace, model: str) -> Checkpoint:
    """Resolve ``--model``: as every checkpoint is, or a GGUF file.

    Raises:
        InputError: nothing there, or nothing that can be read.
    """
    if model.lower().endswith(gguf.SUFFIX):
        gguf.check_file(Path(model))
        return Checkpoint(model, True, None, None)
    return find_checkpoint(space, model, model, "gti extend")


def is_gguf(base: Checkpoint) -> bool:
    """Whether it is a GGUF file."""
    return base.path.lower().endswith(gguf.SUFFIX)


def files_of(base: Checkpoint) -> Path | None:
    """The folder with the model's configuration and safetensors; None where it has none.

    A model that is named by its hub name is fetched first: configuration, safetensors and nothing else.

    Raises:
        InputError: the hub has no such model, or cannot be reached.
    """
    if is_gguf(base):
        return None
    folder = Path(base.path) if base.local else _fetch(base.path)
    has_weights = (folder / SINGLE_FILE).is_file() or (folder / INDEX_FILE).is_file()
    return folder if has_weights else None


def _fetch(name: str) -> Path:
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
