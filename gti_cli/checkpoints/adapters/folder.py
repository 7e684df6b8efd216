"""An adapter of PEFT: a folder with ``adapter_config.json`` and the weights that were trained beside a base model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gti_cli.checkpoints.configuration import read_config_file
from gti_cli.errors import InputError, first_line
from gti_cli.tensors.safetensors_rows import INDEX_FILE, SINGLE_FILE, TensorPlace, read_header
from gti_cli.workspace import CHECKPOINT_MANIFEST, Workspace

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
OTHER_BASE = "pass --base with the model that the adapter was trained on"


@dataclass(frozen=True)
class Adapter:
    """An adapter of PEFT.

    Attributes:
        folder: Its folder.
        config: Content of its ``adapter_config.json``.
        tensors: Where its weights lie, by name.
    """

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorPlace]

    @property
    def base_name(self) -> str | None:
        """What its configuration calls its base model: a folder, or a name on the hub."""
        name = self.config.get("base_model_name_or_path")
        return name if isinstance(name, str) and name else None

    @property
    def kind(self) -> str:
        """The method of PEFT, such as ``LORA``."""
        return str(self.config.get("peft_type"))

    @property
    def token_indices(self) -> set[int]:
        """The ids of the tokens whose rows the adapter holds."""
        given = self.config.get("trainable_token_indices") or self.config.get("token_indices") or []
        lists = given.values() if isinstance(given, Mapping) else [given]
        return {int(index) for indices in lists for index in indices}


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter.

    Raises:
        InputError: When it holds a whole model, too.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        return False
    if (folder / SINGLE_FILE).is_file() or (folder / INDEX_FILE).is_file():
        raise InputError(
            f"holds a whole model and an adapter ({ADAPTER_CONFIG}), so it is not clear which one is meant",
            where=str(folder),
            remedy="move the adapter_* files into a folder of their own",
        )
    return True


def names_adapter(workspace: Workspace, given: str) -> bool:
    """Return whether the name or path of a checkpoint is that of an adapter.

    Raises:
        InputError: When the folder holds a whole model and an adapter.
    """
    return find_adapter(workspace, given) is not None


def find_adapter(workspace: Workspace, given: str) -> Path | None:
    """Return the folder of the adapter that a name or a path means; None where it means something else.

    A name, without a slash, is searched in the workspace first: a folder of the same name beside it, where the command
    happens to run, does not change what the name means.

    Raises:
        InputError: When the folder holds a whole model and an adapter.
    """
    inside, elsewhere = workspace.path(given), Path(given)
    is_name = elsewhere.name == given
    if is_name and (inside / CHECKPOINT_MANIFEST).is_file():
        return None
    folders = (inside, elsewhere) if is_name else (elsewhere, inside)
    return next((folder for folder in folders if is_adapter(folder)), None)


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter's configuration and where its weights lie.

    Raises:
        InputError: When they cannot be read, the weights are pickled, or the method of PEFT cannot be merged.
    """
    config = read_config_file(folder / ADAPTER_CONFIG)
    weights = folder / ADAPTER_WEIGHTS
    if not weights.is_file():
        pickled = next(iter(sorted(folder.glob("adapter_model.*"))), None)
        if pickled is not None:
            raise InputError(
                f"its weights are pickled ({pickled.name}); gti never unpickles",
                where=str(folder),
                remedy="load it with peft and save it with save_pretrained(folder), which writes safetensors",
            )
        raise InputError(
            f"{ADAPTER_CONFIG} without {ADAPTER_WEIGHTS}: the adapter has no weights",
            where=str(folder),
            remedy="save it with peft's save_pretrained(folder), or copy the whole folder",
        )
    with peft_errors(folder):
        from peft import PeftConfig

        parsed: Any = PeftConfig.from_pretrained(str(folder))
    if parsed.is_prompt_learning or parsed.is_adaption_prompt:
        raise InputError(
            f"an adapter of the kind {parsed.peft_type.value} adds tokens to the prompt, so it cannot be merged",
            where=str(folder),
            remedy="train with LoRA",
        )
    return Adapter(folder, config, read_header(weights))


@contextmanager
def peft_errors(folder: Path, base: str | None = None) -> Iterator[None]:
    """Turn the exceptions with which peft refuses an adapter into one `InputError`, and silence its warnings.

    Args:
        folder: The adapter, for the error line.
        base: Its base model. None: the configuration alone is read.

    Raises:
        InputError: When the block raises an error that the adapter or its base explains.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ValueError, KeyError, TypeError, RuntimeError, IndexError, AttributeError, NotImplementedError) as error:
        from torch import OutOfMemoryError

        if isinstance(error, OutOfMemoryError):
            raise
        problem = f"peft cannot read its {ADAPTER_CONFIG}" if base is None else f"does not fit its base {base}"
        remedy = "save the adapter again with peft's save_pretrained(folder)" if base is None else OTHER_BASE
        raise InputError(f"{problem}: {first_line(error)}", where=str(folder), remedy=remedy) from error
