"""Save checkpoints as plain Hugging Face folders that also hold the list of new tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.checkpoints.new_tokens import NewTokens, check_tokenizer, write_new_tokens
from gti_cli.checkpoints.older_transformers import write_older_config_keys, write_older_tokenizer_keys
from gti_cli.checkpoints.stored_weights import check_stored_weights
from gti_cli.errors import InputError
from gti_cli.workspace import processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


# A checkpoint that was trained with a behaviour prior (`gti_cli.priors`) has it in this file. It lies in a folder of
# its own: vLLM and SGLang take all safetensors beside the configuration for weights.
PRIOR_FILE = "gti_prior/prior.safetensors"


def save_checkpoint(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: NewTokens
) -> None:
    """Write a model (as safetensors), its tokenizer and its list of new tokens; plain transformers can load them.

    The weights are read back and compared with those of the model. Transformers 4.57 and 5 read
    the folder alike.

    Args:
        folder: Folder to write into; it is created if it does not exist.
        model: The extended model.
        tokenizer: The extended tokenizer.
        tokens: The new tokens of both.

    Raises:
        InputError: When the tokenizer gives a new token another id than the list, or the stored weights are not
            those of the model.
    """
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    if processes.rank() == 0:  # transformers writes weights on the first process alone, and its output is kept
        check_stored_weights(folder, model)
        write_older_config_keys(folder)
    save_tokenizer(folder, tokenizer, tokens)


def save_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase, tokens: NewTokens) -> None:
    """Write the tokenizer and the list of new tokens, the parts of a checkpoint that are not weights.

    Raises:
        InputError: When the tokenizer gives a new token another id than the list, or has a chat template whose name
            would lead out of the folder.
    """
    check_tokenizer(tokenizer, tokens)
    _check_template_names(tokenizer)
    tokenizer.save_pretrained(folder)
    if processes.rank() == 0:
        write_older_tokenizer_keys(folder, tokenizer)
    write_new_tokens(folder, tokens)


def _check_template_names(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse names of chat templates that are paths: transformers makes files of them, old versions anywhere."""
    templates: Any = tokenizer.chat_template
    for name in templates if isinstance(templates, dict) else ():
        if Path(name).name != name or name in (".", ".."):
            raise InputError(
                f"the tokenizer has a chat template called {name!r}, which would be a file outside its folder",
                remedy="give it a plain name in tokenizer_config.json",
            )
