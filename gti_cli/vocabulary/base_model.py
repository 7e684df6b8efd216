"""Find the model to extend: a folder, a model of the hub, or a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.checkpoints.configuration import causal_class, load_config
from gti_cli.checkpoints.finding import Checkpoint, find_checkpoint
from gti_cli.checkpoints.loading import translate_loading_errors
from gti_cli.checkpoints.quantized import check_folder
from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import INDEX_FILE, SINGLE_FILE
from gti_cli.vocabulary import gguf
from gti_cli.vocabulary.architectures.kinds import REMEDY, check_kind, is_wrapper
from gti_cli.vocabulary.architectures.text_model import TextModel, find_text_model
from gti_cli.workspace import Workspace

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


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
        InputError: When the hub has no such model or cannot be reached, or the model is quantized.
    """
    if is_gguf(base):
        return None
    folder = Path(base.path) if base.local else _download(base.path)
    if not base.local:
        check_folder(folder)  # of a hub model `find_checkpoint` has seen the configuration only
    has_weights = (folder / SINGLE_FILE).is_file() or (folder / INDEX_FILE).is_file()
    return folder if has_weights else None


def read_kind(base: Checkpoint) -> PreTrainedConfig:
    """Read a model's configuration, and refuse models that are no causal language model.

    Args:
        base: The model, no GGUF file.

    Raises:
        InputError: When the configuration cannot be read, or is of a model of another kind; the error says of which.
    """
    with translate_loading_errors(base.path):
        config = load_config(base.path)
    check_kind(config, base.path)
    return config


def take_text_model(folder: Path | None, config: PreTrainedConfig, where: str) -> TextModel | None:
    """Find the text model of a multimodal wrapper.

    Args:
        folder: The wrapper's folder with safetensors, if it has any.
        config: Configuration of any model.
        where: Name of the model, for the error line.

    Returns:
        The text model; None for a model that is no wrapper, and for one whose text model transformers itself loads.

    Raises:
        InputError: When the model is a wrapper whose text model cannot be taken.
    """
    if not is_wrapper(config):
        return None
    text = find_text_model(folder, config) if folder is not None else None
    inner = config.get_text_config(decoder=True)
    loads_text_alone = inner is not config and getattr(causal_class(config), "config_class", None) is type(inner)
    if text is None and not loads_text_alone:
        own = f" ({inner.model_type})" if inner is not config else ""
        raise InputError(
            f"{config.model_type} is a multimodal model, and its text model{own} cannot be taken out of its files",
            where=where,
            remedy=f"{REMEDY}, or the language model that this one was built on",
        )
    return text


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
