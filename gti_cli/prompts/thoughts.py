"""Reasoning models: how a model is asked whose chat template writes thoughts (``<think>…</think>``).

Our answers hold no thoughts. A question that ends inside an open thought would make the answer a part of it, and other
tools, which render whole conversations, would train on other tokens. `gti_cli.prompts.chat.choose_prompt_form` decides
the form once and notes it in the tokenizer's configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CONVERSATION = "conversation"  # the text before an answer in a finished conversation
CLOSED = "closed-thought"  # the template's own opening of an answer, with the thought in it closed
_ENTRY = "gti_prompt"  # of tokenizer_config.json
_OPEN, _CLOSE = "<think>", "</think>"


def prompt_form(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the noted form of the prompt; None: as the chat template opens an answer."""
    form = tokenizer.init_kwargs.get(_ENTRY)
    return form if isinstance(form, str) else None


def note_prompt_form(tokenizer: PreTrainedTokenizerBase, form: str) -> None:
    """Note the form of the prompt in the tokenizer, which saves it with its configuration."""
    tokenizer.init_kwargs[_ENTRY] = form


def is_open(prompt: str) -> bool:
    """Return whether a prompt ends inside a thought."""
    return prompt.rfind(_OPEN) > prompt.rfind(_CLOSE)


def has_thought(text: str) -> bool:
    """Return whether a thought is closed in a text, be it empty."""
    return _CLOSE in text


def close(prompt: str) -> str:
    """Close the thought in which a prompt ends, with nothing in it."""
    if not is_open(prompt):
        return prompt
    return prompt.rstrip("\n") + "\n\n" + _CLOSE + "\n\n"
