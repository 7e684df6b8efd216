"""Load tokenizers and causal LMs with transformers, and report failures as one line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console, quick_start
from gti_cli.checkpoints.configuration import (
    causal_class,
    read_pretrained_config,
    refuse_lone_surrogates,
    replace_attention,
)
from gti_cli.checkpoints.quantized import UNQUANTIZED, check_folder, is_quantized_name
from gti_cli.checkpoints.tokenizer_packages import missing_packages
from gti_cli.errors import InputError, first_line, list_some

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Every kind of tokenizer has at least one of these files.
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model", "*.tiktoken", "*.spm", "tekken.json", "merges.txt")


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder has at least one file of a tokenizer."""
    return any(next(folder.glob(name), None) for name in _TOKENIZER_FILES)


def _refuse_half_characters(config: Path) -> None:
    """Refuse half of a character by its key: some versions of transformers then ask for packages instead."""
    try:
        content = json.loads(config.read_bytes())
    except (OSError, ValueError, RecursionError):  # there is none, or transformers says what is wrong with it
        return
    if isinstance(content, dict):
        refuse_lone_surrogates(content, str(config))


def load_tokenizer(path: str, **options: Any) -> PreTrainedTokenizerBase:
    """Load a tokenizer; one without a pad token gets its end-of-sequence token for it.

    Args:
        path: Folder, or name on the hub.
        **options: Options of transformers' loader, such as ``gguf_file``.

    Raises:
        InputError: When there is no tokenizer, it is damaged, it has neither a pad nor an end-of-sequence token, or a
            package that it needs is not installed; the error names the package.
    """
    from transformers import AutoTokenizer

    folder = Path(path)
    no_tokenizer = InputError(
        "no tokenizer in this folder", where=path, remedy="save it there with tokenizer.save_pretrained"
    )
    if folder.is_dir() and not options and not has_tokenizer(folder):
        raise no_tokenizer
    _refuse_half_characters(folder / "tokenizer_config.json")
    with translate_loading_errors(path, "a tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, **options)
    # Where transformers finds no vocabulary it makes an empty tokenizer of the model's kind.
    if not tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens):
        raise missing_packages(path) or no_tokenizer
    said = {**tokenizer.init_kwargs, "chat_template": tokenizer.chat_template}
    refuse_lone_surrogates(said, f"{path}, tokenizer_config.json")
    if not isinstance(tokenizer.model_max_length, int | float):
        raise InputError(
            f"model_max_length must be a number, not {tokenizer.model_max_length!r}",
            where=path,
            remedy="correct it in tokenizer_config.json",
        )
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise InputError("the tokenizer has neither a pad nor an end-of-sequence token", where=path)
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    path: str, device: torch.device, dtype: torch.dtype | str, *, where: str | None = None, **options: Any
) -> PreTrainedModel:
    """Load a causal LM in evaluation mode.

    Args:
        path: Folder, or name on the hub.
        device: Device to load onto.
        dtype: Number format of the weights (``"auto"``: as they are stored).
        where: Name of the model in error lines (None: ``path``).
        **options: Options of transformers' loader, such as ``gguf_file``.

    Raises:
        InputError: When the model cannot be found or read, is not a causal LM, is quantized, or lacks weights that its
            configuration asks for.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model: PreTrainedModel
    where = where or path
    is_gguf = "gguf_file" in options
    if Path(path).is_dir() and not is_gguf:
        check_folder(Path(path))
    with translate_loading_errors(where):
        if not is_gguf:
            config = read_pretrained_config(path)
            options.update({"config": config} if replace_attention(config, where) else {})
            causal_class(config)  # imports the model's module, before libraries are left out of garbage collection
        # Pickled weights (.bin) can run code when they are read, so only safetensors are. Tensors of a wrong shape are
        # ignored here and refused by name below, where transformers would only refer to a report.
        options = {
            "use_safetensors": True,
            "trust_remote_code": False,
            "ignore_mismatched_sizes": True,
            "output_loading_info": True,
            **options,
        }
        quick_start.settle()
        loaded: Any = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, **options)
    model, info = loaded
    _check_complete(model, info, where)
    if not is_gguf:  # those are tied after loading
        untie_configuration(model)
    model.to(device)  # type: ignore[arg-type]
    model.eval()  # type: ignore[no-untyped-call]
    return model


def untie_configuration(model: PreTrainedModel) -> None:
    """Let a model's configuration say that embedding and head are not tied, where they are two matrices.

    transformers 5 unties a model whose stored head differs from its embedding, and leaves the configuration as it is.
    Older versions would tie a checkpoint that is saved so.
    """
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if head is None or head.weight is embedding.weight:
        return
    for config in (model.config, model.config.get_text_config(decoder=True)):
        if getattr(config, "tie_word_embeddings", False):
            config.tie_word_embeddings = False


def _check_complete(model: PreTrainedModel, info: dict[str, Any], where: str) -> None:
    """Refuse a model with weights that transformers drew at random, because their tensors are missing or do not fit."""
    if quantized := sorted(filter(is_quantized_name, info["unexpected_keys"])):
        problem = f"this checkpoint is quantized: it holds the tensor {quantized[0]!r}"
        raise InputError(problem, where=where, remedy=UNQUANTIZED)
    remedy = "download or copy the checkpoint again, or correct its config.json"
    if info["mismatched_keys"]:
        name, stored_shape, expected_shape = min(info["mismatched_keys"])
        shapes = f"it is {tuple(stored_shape)}, the configuration asks for {tuple(expected_shape)}"
        raise InputError(f"the tensor {name} has the wrong shape: {shapes}", where=where, remedy=remedy)
    missing = sorted(info["missing_keys"])
    # Buffers are not weights: the architecture sets them itself, and files of older versions may lack one.
    buffers = {name for name, _ in model.named_buffers()}
    if weights := [name for name in missing if name not in buffers]:
        more = f" and {len(weights) - 1:,} more" if len(weights) > 1 else ""
        raise InputError(f"the checkpoint lacks the weights {weights[0]}{more}", where=where, remedy=remedy)
    if missing:
        console.warn(
            f"{where}: the checkpoint lacks {list_some(missing)}, perhaps because an older version of transformers "
            "saved it; the architecture's initial values are used"
        )


@contextmanager
def translate_loading_errors(path: str, kind: str = "a causal LM") -> Iterator[None]:
    """Turn the many exceptions with which transformers fails to load into one `InputError` of one line.

    Also silences transformers' warnings, from here to the end of the process.

    Args:
        path: Name of what is loaded, for the error line.
        kind: ``"a causal LM"`` or ``"a tokenizer"``.

    Raises:
        InputError: When the block raises an error that the input explains. Other errors pass through, such as a lack of
            memory.
    """
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        yield
    except Exception as error:
        refusal = _explain(error, path, kind)
        if refusal is None:
            raise
        raise refusal from error


def _explain(error: Exception, path: str, kind: str) -> InputError | None:
    """Return the error line for a failure to load; None where the input is not to blame."""
    from safetensors import SafetensorError
    from torch import OutOfMemoryError

    problem = f"cannot be loaded as {kind}: {first_line(error)}"
    if kind == "a tokenizer":
        if isinstance(error, UnicodeEncodeError):
            problem = f"a token holds half of a character ({error.object[error.start]!r}, a lone surrogate)"
            return InputError(problem, where=path, remedy="write whole characters in the tokenizer's files")
        if (packages := missing_packages(path, error)) is not None:
            return packages
        # The package tokenizers, and those that some kinds of tokenizers need, raise any class, even a bare Exception.
        return InputError(
            problem, where=path, remedy="save it there with tokenizer.save_pretrained, or give a hub name"
        )
    if isinstance(error, RuntimeError) and not isinstance(error, OutOfMemoryError | NotImplementedError):
        # From transformers where tensors cannot be converted, from torch where they cannot be copied (ZeRO-3).
        return InputError(
            f"its weights do not fit its configuration: {first_line(error)}",
            where=path,
            remedy="download or copy the checkpoint again, or correct its config.json",
        )
    if isinstance(error, OSError | ValueError | SafetensorError | KeyError):
        return InputError(
            problem,
            where=path,
            remedy="give a Hugging Face checkpoint folder with safetensors, or a hub name (needs the network)",
        )
    if _raised_by_transformers(error) and not isinstance(error, MemoryError | NotImplementedError | RuntimeError):
        # A division by a number of heads that is 0, for example.
        return InputError(
            f"no model can be made of its configuration: {type(error).__name__}: {first_line(error)}",
            where=path,
            remedy="download or copy the checkpoint again, or correct its config.json",
        )
    return None


def _raised_by_transformers(error: Exception) -> bool:
    """Return whether an error comes from inside of transformers, so that the files it reads explain it."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and str(place.tb_frame.f_globals.get("__name__")).startswith(("transformers.", "torch."))
