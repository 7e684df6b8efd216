"""From a system and a user message to token ids, with the model's own chat template where it has one.

A prompt ends where the assistant's answer begins; an answer ends with the token that ends a turn. They are tokenised
apart, so that a prompt has the same ids at training and at inference, whatever the answer.

Templates that write today's date (Llama 3.2, SmolLM3) write `TODAY`: what is trained and asked depends on no clock.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from gti_cli import console
from gti_cli.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# For base models without a chat template: bare words, nothing that would need special tokens.
_PLAIN = "{system}\n\nUser: {user}\nAssistant: "

# Llama's own default where a template cannot ask for the date.
TODAY = datetime(2024, 7, 26)
_DIRECTIVES = "aAbBcdeDFGhHIjmMpRSTuUVwWxXyY"  # of strftime; others stay as the template has them

_takes_system: dict[str, bool] = {}  # by chat template: asked once, and a refusal is said once


def turns(tokenizer: PreTrainedTokenizerBase, system: str, user: str) -> list[dict[str, str]]:
    """The messages before the answer, ``[{"role": …, "content": …}, …]``, as the tokenizer's chat template takes them.

    Some templates refuse a system message (Gemma 2, the first Mistral-Instruct): its text then stands in front of the
    user's, with a blank line between. No system message is an empty text.

    Raises:
        InputError: the template fails with a system message and without.
    """
    if not system:
        return [{"role": "user", "content": user}]
    if not _system_taken(tokenizer):
        return [{"role": "user", "content": f"{system}\n\n{user}"}]
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def render_prompt(tokenizer: PreTrainedTokenizerBase, system: str, user: str) -> str:
    """The prompt as text, up to and including the mark that opens the assistant's answer; the date in it is `TODAY`.

    Raises:
        InputError: the tokenizer's chat template cannot be rendered.
    """
    if tokenizer.chat_template is None:
        return _PLAIN.format(system=system, user=user).lstrip()
    return _render(tokenizer, turns(tokenizer, system, user))


def _render(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], opened: bool = True) -> str:
    """The messages as text, ``opened`` for the assistant's answer to follow."""
    from jinja2 import TemplateError

    try:
        return str(
            tokenizer.apply_chat_template(
                messages,
                chat_template=_dated(tokenizer.get_chat_template()),
                tokenize=False,
                add_generation_prompt=opened,
                enable_thinking=False,  # Qwen3's template opens a thinking block otherwise; other templates ignore it
            )
        )
    except (TemplateError, TypeError, ValueError) as cause:
        raise InputError(
            f"the model's chat template cannot be rendered: {cause}",
            where=tokenizer.name_or_path or None,
            remedy="mend or replace it (chat_template.jinja, or chat_template in tokenizer_config.json); "
            "without one, prompts are plain words",
        ) from cause


def _dated(template: str) -> str:
    """The template with ``strftime_now`` of its own, which knows no other day than `TODAY`, if it asks for the date.

    transformers 5.23 hands a template no functions, so one cannot be given as an argument.
    """
    if "strftime_now" not in template:
        return template
    parts = ["{% macro strftime_now(format) %}{{ format"]
    for letter in _DIRECTIVES:
        text = TODAY.strftime(f"%{letter}")
        short = str(int(text)) if text.isdigit() else text
        parts.append(f" | replace('%-{letter}', '{short}') | replace('%{letter}', '{text}')")
    # On a line of its own, which `trim_blocks` takes away: the template begins as it did.
    return "".join(parts) + " }}{% endmacro %}\n" + template


def _system_taken(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template, if there is one, renders a system message; a refusal is noted."""
    if tokenizer.chat_template is None:
        return True
    template = str(tokenizer.chat_template)
    if template not in _takes_system:
        system, user = {"role": "system", "content": "x"}, {"role": "user", "content": "x"}
        try:
            _render(tokenizer, [system, user])
            _takes_system[template] = True
        except InputError as refusal:
            _render(tokenizer, [user])  # a template that fails anyway is no refusal
            console.note(
                f"the chat template takes no system message ({str(refusal.__cause__).rstrip('.')}): "
                "its text stands in front of the user's message"
            )
            _takes_system[template] = False
    return _takes_system[template]


def encode_prompt(tokenizer: PreTrainedTokenizerBase, system: str, user: str) -> list[int]:
    """Token ids of the prompt (see `render_prompt`)."""
    text = render_prompt(tokenizer, system, user)
    # A chat template writes its own opening token; a plain prompt needs the tokenizer's.
    return list(tokenizer(text, add_special_tokens=tokenizer.chat_template is None)["input_ids"])


def encode_answer(tokenizer: PreTrainedTokenizerBase, answer: str, end: bool = True) -> list[int]:
    """Token ids of the assistant's answer, with the end-of-turn token behind it."""
    ids = list(tokenizer(answer, add_special_tokens=False)["input_ids"])
    return [*ids, end_of_turn(tokenizer)] if end else ids


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that ends an answer.

    It is ``<|im_end|>`` where the tokenizer has it, else the special token that its chat template writes behind an
    answer (``<end_of_turn>`` of Gemma), else its end-of-sequence token.

    Raises:
        InputError: there is none of these.
    """
    im_end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    if isinstance(im_end, int) and im_end != tokenizer.unk_token_id and im_end >= 0:
        return im_end
    if (written := _written_end(tokenizer)) is not None:
        return written
    if not isinstance(tokenizer.eos_token_id, int):
        raise InputError(
            "the tokenizer has no end-of-sequence token, so no answer could end",
            where=tokenizer.name_or_path or None,
            remedy="name one of its tokens as eos_token in the tokenizer_config.json of the base model",
        )
    return tokenizer.eos_token_id


def _written_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id of the special token that the chat template writes behind an answer, if it does."""
    if tokenizer.chat_template is None:
        return None
    answer = "\ue000"  # private use: no template writes it
    try:
        text = _render(tokenizer, [*turns(tokenizer, "", "x"), {"role": "assistant", "content": answer}], opened=False)
    except InputError:  # it renders prompts only
        return None
    behind = text.partition(answer)[2].lstrip()
    special = {token.content: n for n, token in tokenizer.added_tokens_decoder.items() if token.special}
    found = [content for content in special if behind.startswith(content)]
    return special[max(found, key=len)] if found else None
