"""Read a checkpoint's ``config.json``, and refuse or mend what transformers only answers with a traceback."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

CONFIG_FILE = "config.json"
# Number formats that weights can train in, as torch names them; the last three are other names of theirs.
_NUMBER_FORMATS = {"float16", "bfloat16", "float32", "float64", "half", "float", "double"}
_ALWAYS_THERE = (None, "eager", "sdpa")  # attention that needs nothing but torch

# What has been said about attention, so that a checkpoint that is loaded several times is mentioned once.
_noted: set[tuple[str, str]] = set()


def read_config(folder: Path) -> dict[str, Any]:
    """Read the checkpoint's ``config.json``.

    Raises:
        InputError: When there is no such folder, or no readable configuration in it.
    """
    if not folder.exists():
        raise InputError("no such folder", where=str(folder), remedy="check the path")
    if not folder.is_dir():
        raise InputError("this is a file, not a checkpoint folder", where=str(folder))
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise InputError("no config.json: this folder is no Hugging Face checkpoint", where=str(folder))
    return read_config_file(path)


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        InputError: When the file is no readable JSON object.
    """
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as cause:
        raise InputError("cannot be read as JSON", where=str(path), remedy="write the checkpoint again") from cause
    if not isinstance(config, dict):
        raise InputError("holds no JSON object", where=str(path), remedy="write the checkpoint again")
    return config


def parts(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a configuration and the configurations of its parts, such as ``text_config`` and ``vision_config``."""
    yield config
    for name, part in config.items():
        if name.endswith("_config") and isinstance(part, Mapping):
            yield part


def check_number_formats(config: Mapping[str, Any], where: str) -> None:
    """Refuse a configuration whose ``dtype`` (or ``torch_dtype``) is no number format that weights train in.

    Args:
        config: Content of ``config.json``.
        where: The file, for the error line.

    Raises:
        InputError: When there is such a number format; the error names it.
    """
    for part in parts(config):
        for key in ("dtype", "torch_dtype"):
            value = part.get(key)
            # Multimodal models may have one number format for each of their parts.
            for name in value.values() if isinstance(value, Mapping) else [value]:
                if name is not None and (not isinstance(name, str) or name not in _NUMBER_FORMATS):
                    plain = str(name).removeprefix("torch.")
                    remedy = (
                        f'write "{plain}" there'
                        if plain in _NUMBER_FORMATS
                        else 'write the format of the weights there: "float32", "float16" or "bfloat16"'
                    )
                    raise InputError(f"{key} {name!r} is not a known number format", where=where, remedy=remedy)


def load_config(path: str, **options: Any) -> PreTrainedConfig:
    """Load a configuration with transformers, and ask for no kind of attention that this machine lacks.

    Code that lies beside a model is never run. transformers would ask on a terminal whether it may.

    Args:
        path: Folder, or name on the hub.
        **options: Options of transformers' loader, such as ``gguf_file``.
    """
    config = read_pretrained_config(path, **options)
    replace_attention(config, path)
    return config


def read_pretrained_config(path: str, **options: Any) -> PreTrainedConfig:
    """Load a configuration with transformers as it is; code that lies beside a model is never run.

    Args:
        path: Folder, or name on the hub.
        **options: Options of transformers' loader, such as ``gguf_file``.

    Raises:
        InputError: When a value in it is not what transformers expects there.
    """
    from transformers import AutoConfig

    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(path, trust_remote_code=False, **options)
    except (OSError, ValueError, ImportError):
        raise  # a missing file, an unknown kind of model: explained by `loading.translate_loading_errors`
    except Exception as cause:  # transformers checks values by classes of its own, or fails on them somewhere
        raise InputError(
            f"the configuration cannot be used: {' '.join(str(cause).split()) or type(cause).__name__}"[:300],
            where=f"{path}, {CONFIG_FILE}",
            remedy="download or copy the checkpoint again, or correct its config.json",
        ) from cause
    return config


def causal_class(config: PreTrainedConfig) -> Any:
    """Return the class of transformers that is the causal language model of a configuration; None where it has none."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    return MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)


def cache_argument(forward: Callable[..., Any]) -> str | None:
    """Return what a model calls its key-value cache, as an argument and in its outputs.

    A model with keyword arguments only would swallow a cache of another name unread.

    Args:
        forward: The model's ``forward``.

    Returns:
        ``past_key_values``, or ``cache`` since transformers 5.24; None where the model takes neither.
    """
    parameters = inspect.signature(forward).parameters
    return next((name for name in ("past_key_values", "cache") if name in parameters), None)


def check_takes_cache(config: PreTrainedConfig, where: str, remedy: str) -> None:
    """Refuse state-space models such as Mamba and RWKV, some of which also read padding as if it were text.

    Args:
        config: The model's configuration.
        where: Name of the model, for the error line.
        remedy: What to give instead.

    Raises:
        InputError: When the model takes no key-value cache.
    """
    model_class = causal_class(config)
    name = "" if model_class is None else cache_argument(model_class.forward)
    # Since transformers 5.24 the state of a state-space model has the same name; such a model has no attention heads.
    if name is None or (name == "cache" and not hasattr(config.get_text_config(), "num_attention_heads")):
        raise InputError(
            f"{config.model_type} takes no key-value cache (state-space models such as Mamba have none), and the "
            "search for items continues many answers from one cache",
            where=where,
            remedy=remedy,
        )


def replace_attention(config: PreTrainedConfig, where: str) -> bool:
    """Remove the wish for a kind of attention that this machine lacks, with a note; transformers then takes sdpa.

    Args:
        config: The configuration, changed in place.
        where: Name of the model, for the note.

    Returns:
        Whether there was such a wish.
    """
    own_parts = [config, *(getattr(config, name, None) for name in config.sub_configs)]
    wishes: set[str | None] = {getattr(part, "_attn_implementation", None) for part in own_parts if part is not None}
    missing = sorted(str(wish) for wish in wishes if not _is_available(wish))
    if not missing:
        return False
    # None, and not "sdpa": an architecture that has no sdpa then gets the plain implementation.
    config._attn_implementation = None
    for wish in missing:
        if (where, wish) not in _noted:
            _noted.add((where, wish))
            problem = f"{where}: its configuration asks for the attention {wish!r}, which cannot run here"
            console.note(f"{problem}; sdpa is used instead")
    return True


def drop_missing_attention(content: dict[str, Any]) -> None:
    """Remove the wish for a kind of attention that this machine lacks, so that plain transformers loads the checkpoint.

    Args:
        content: The content of a ``config.json``, changed in place, with the parts for text, vision and the like in it.
    """
    for name in ("_attn_implementation", "attn_implementation"):
        wish = content.get(name)
        if isinstance(wish, str) and not _is_available(wish):
            del content[name]
    for part in content.values():
        if isinstance(part, dict):
            drop_missing_attention(part)


def _is_available(attention: str | None) -> bool:
    """Return whether gti runs this kind of attention on this machine.

    ``flash_attention_N`` needs its package. Other names are kernels that transformers would download from the hub and
    run, which no configuration may ask for, or ``flex_attention``, which compiles itself anew for each shape.
    """
    from transformers import utils

    if attention in _ALWAYS_THERE:
        return True
    name, _, version = str(attention).rpartition("_")
    is_installed = getattr(utils, f"is_flash_attn_{version}_available", None) if name == "flash_attention" else None
    return bool(is_installed is not None and is_installed())
