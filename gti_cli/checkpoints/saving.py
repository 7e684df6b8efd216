"""Write checkpoints: plain Hugging Face folders with a list of new tokens inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.checkpoints.new_tokens import NewTokens, check_tokenizer, write_new_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def save_checkpoint(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: NewTokens
) -> None:
    """Write model (safetensors), tokenizer and list of new tokens; loads with plain transformers, no code of ours."""
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    save_tokenizer(folder, tokenizer, tokens)


def save_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase, tokens: NewTokens) -> None:
    """Write what of a checkpoint is no weights: tokenizer and list of new tokens, checked against each other."""
    check_tokenizer(tokenizer, tokens)
    tokenizer.save_pretrained(folder)
    write_new_tokens(folder, tokens)
