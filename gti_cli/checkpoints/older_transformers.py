"""Make a checkpoint that transformers 5 wrote readable for transformers 4.57, without changing what version 5 reads.

Version 5 writes the rotary position embedding as ``rope_parameters`` alone, and writes classes and keys of tokenizers
that 4.57 does not know. Version 4.57 then takes its defaults without a word, and computes other logits. Here the older
keys are written beside the newer ones. Each file is read again with the installed version: where an older key would
change what it reads, the file stays as transformers wrote it, and a warning says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.checkpoints.configuration import CONFIG_FILE, read_config_file

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

TOKENIZER_CONFIG = "tokenizer_config.json"
_FLAT_ROPE_KEYS = ("rope_theta", "partial_rotary_factor")  # version 4 has them beside rope_scaling, not in it
# What only some architectures of version 4 call otherwise, or have at all.
_THETA_NAMES = {"gpt_neox": "rotary_emb_base", "gpt_neox_japanese": "rotary_emb_base"}
_FACTOR_NAMES = {"gpt_neox": "rotary_pct", "gpt_neox_japanese": "rotary_pct"}
_SLIDING_THETA_NAMES = {"gemma3_text": "rope_local_base_freq", "gemma3n_text": "rope_local_base_freq"}
_EXPERTS = ("num_experts", "num_local_experts")  # names of one number
# The class for whatever a tokenizer.json holds, in version 5 and in version 4. It is also right where the source names
# the class of another architecture and version 5 overrules it: that class of version 4 may add tokens of its own.
_ANY_FAST_TOKENIZER = {"TokenizersBackend": "PreTrainedTokenizerFast"}
# Keys of a source's tokenizer_config.json that are not carried over: other files hold their content.
_HELD_ELSEWHERE = {
    "extra_special_tokens",
    "additional_special_tokens",
    "added_tokens_decoder",
    "chat_template",
    "auto_map",
    "tokenizer_file",
    "name_or_path",
}


def write_older_config_keys(folder: Path) -> None:
    """Write the keys that transformers 4.57 reads into a checkpoint's ``config.json``, beside those of version 5.

    Args:
        folder: The checkpoint.
    """
    path = folder / CONFIG_FILE
    text = path.read_text("utf-8")
    as_written = read_config_file(path)
    config = with_older_keys(as_written)
    if config is None:
        _warn(path)
        return
    if config == as_written:
        return
    before = _load_config(folder)
    names: dict[str, str] = before.attribute_map
    if names.get(_EXPERTS[0]) == _EXPERTS[1] and _EXPERTS[1] in config:
        config.setdefault(_EXPERTS[0], config[_EXPERTS[1]])
    path.write_text(_as_text(config), "utf-8")
    added = config.keys() - as_written.keys()
    after, unchanged = _content(_load_config(folder), added), _content(before, added)
    # Without its older key, version 5.4 reads another rotary share of GPT-NeoX than it has written.
    if after != unchanged and after != {**unchanged, "rope_parameters": as_written.get("rope_parameters")}:
        path.write_text(text, "utf-8")
        _warn(path)


def with_older_keys(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a configuration with the keys that transformers 4.57 reads; keys that it has already stay as they are.

    Args:
        config: Content of ``config.json``. A text model's part in ``text_config`` gets its keys, too.

    Returns:
        The configuration; None where version 4 has no keys for its position embedding.
    """
    older = dict(config)
    if isinstance(config.get("text_config"), Mapping):
        inner = with_older_keys(config["text_config"])
        if inner is None:
            return None
        older["text_config"] = inner
    if isinstance(config.get("dtype"), str):
        older.setdefault("torch_dtype", config["dtype"])
    rope = config.get("rope_parameters")
    if isinstance(rope, Mapping) and rope:
        keys = _older_rope_keys(str(config.get("model_type")), rope)
        if keys is None:
            return None
        for name, value in keys.items():
            older.setdefault(name, value)
    return older


def _older_rope_keys(kind: str, rope: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return version 4's keys for the rotary position embedding; None where it has none for this one.

    Args:
        kind: The ``model_type``.
        rope: What version 5 calls ``rope_parameters``: of all layers, or of each type of layers.
    """
    by_layer = {name: part for name, part in rope.items() if isinstance(part, Mapping) and name.endswith("_attention")}
    main = by_layer.get("full_attention", next(iter(by_layer.values()))) if by_layer else rope
    if main.get("rope_theta") is None:
        return None
    keys: dict[str, Any] = {_THETA_NAMES.get(kind, "rope_theta"): main["rope_theta"]}
    sliding = by_layer.get("sliding_attention", main)
    if kind in _SLIDING_THETA_NAMES:
        keys[_SLIDING_THETA_NAMES[kind]] = sliding["rope_theta"]
    elif sliding.get("rope_theta") != main["rope_theta"]:
        return None
    if sliding is not main and sliding.get("rope_type", "default") != "default":
        return None  # version 4 scales the positions of the other layers alone
    if "partial_rotary_factor" in main:
        keys[_FACTOR_NAMES.get(kind, "partial_rotary_factor")] = main["partial_rotary_factor"]
    if main.get("rope_type", "default") != "default":
        scaling = {name: value for name, value in main.items() if name not in _FLAT_ROPE_KEYS}
        if kind == "phi3":  # takes these three keys and no other
            factors = {name: scaling[name] for name in ("short_factor", "long_factor")}
            scaling = {"type": scaling["rope_type"], **factors}
        keys["rope_scaling"] = scaling
    return keys


def is_read_by_version_4(folder: Path) -> bool:
    """Return whether a checkpoint has all keys with which transformers 4.57 reads it as version 5 does.

    Args:
        folder: The checkpoint. Its weights are not looked at, and no library is loaded.
    """
    config = read_config_file(folder / CONFIG_FILE)
    if with_older_keys(config) != config:
        return False
    path = folder / TOKENIZER_CONFIG
    if not path.is_file():
        return True
    written = read_config_file(path)
    return _older_tokenizer(written) == written


def write_older_tokenizer_keys(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write class and special tokens into a ``tokenizer_config.json`` in the form that transformers 4.57 reads.

    Class and further keys are those of the source that the tokenizer was loaded from, where version 5 agrees with them.

    Args:
        folder: The checkpoint, in which the tokenizer was saved.
        tokenizer: The tokenizer.
    """
    path = folder / TOKENIZER_CONFIG
    if not path.is_file():
        return
    text = path.read_text("utf-8")
    written = read_config_file(path)
    before = None
    for config in (_older_tokenizer(written, _source_config(tokenizer)), _older_tokenizer(written)):
        if config == written:
            return
        path.write_text(_as_text(config), "utf-8")
        after = _reading(folder)
        if after == _state(tokenizer):
            return
        # What is saved may differ from the tokenizer in memory for reasons of transformers' own, so it is read, too.
        path.write_text(text, "utf-8")
        before = before or _reading(folder)
        if after == before:
            path.write_text(_as_text(config), "utf-8")
            return
    _warn(path)


def _older_tokenizer(written: Mapping[str, Any], source: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the content of ``tokenizer_config.json`` in the form of version 4.

    Args:
        written: What version 5 has written.
        source: The same file of the source: it gives the class, and keys that version 5 has left out.
    """
    source = source or {}
    kept = {name: value for name, value in source.items() if name not in _HELD_ELSEWHERE}
    config = {**kept, **written}
    extra = written.get("extra_special_tokens")
    if isinstance(extra, list):  # version 4 reads a mapping there, and the list under its old name
        del config["extra_special_tokens"]
        config["additional_special_tokens"] = extra
    name = str(written.get("tokenizer_class"))
    if str(source.get("tokenizer_class")).removesuffix("Fast") == name.removesuffix("Fast"):
        name = source["tokenizer_class"]
    config["tokenizer_class"] = _ANY_FAST_TOKENIZER.get(name, name)
    return config


def _source_config(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Read the ``tokenizer_config.json`` of the folder, or of the hub's cache, that a tokenizer was loaded from."""
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    if not tokenizer.name_or_path:
        return {}
    try:
        config: dict[str, Any] = get_tokenizer_config(tokenizer.name_or_path, local_files_only=True)
    except (OSError, ValueError):  # the source is gone, or was no folder and no name
        return {}
    config.pop("_commit_hash", None)
    return config


def _reading(folder: Path) -> dict[str, Any] | None:
    """Return what the installed version reads from a saved tokenizer; None where it cannot."""
    from transformers import AutoTokenizer

    try:
        return _state(AutoTokenizer.from_pretrained(folder, trust_remote_code=False))
    except Exception:  # transformers and tokenizers raise any class
        return None


def _state(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return all that decides how a tokenizer works."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    names = ("extra_special_tokens", "model_max_length", "padding_side", "truncation_side", "chat_template")
    return {
        "class": type(tokenizer).__name__,
        "backend": None if backend is None else backend.to_str(),
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "inputs": list(tokenizer.model_input_names),
        "spaces": getattr(tokenizer, "clean_up_tokenization_spaces", None),
        **{name: getattr(tokenizer, name, None) for name in names},
    }


def _load_config(folder: Path) -> PreTrainedConfig:
    from transformers import AutoConfig

    config: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return config


def _content(config: PreTrainedConfig, added: Set[str]) -> dict[str, Any]:
    """Return a configuration as a mapping, without what version 5 carries along and does not use.

    Args:
        config: The configuration.
        added: Older keys. Those that version 5 knows have gone into its own keys, with which they are compared.
    """
    content = {name: value for name, value in config.to_dict().items() if name not in added}
    rope = content.get("rope_parameters")
    if isinstance(rope, dict):
        rope.pop("type", None)  # version 4's second name of rope_type
    return content


def _as_text(config: Mapping[str, Any]) -> str:
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def _warn(path: Path) -> None:
    console.warn(
        f"{path} has no form that transformers 4 and 5 read alike: load this checkpoint with transformers 5 or newer"
    )
