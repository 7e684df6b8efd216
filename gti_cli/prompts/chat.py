"""Prompts and answers as token ids, with the model's own chat template where it has one.

A prompt ends where the assistant's answer begins. An answer ends with the token that ends a turn. Prompt and answer are
tokenised separately, so a prompt has the same ids in training and at inference, whatever the answer is.

Reasoning models are asked without a thought: see `gti_cli.prompts.thoughts`.

Some chat templates write the current date into the prompt (Llama 3.2, SmolLM3). They get the fixed `PROMPT_DATE`
instead, so that results do not depend on the day of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.errors import InputError
from gti_cli.prompts import thoughts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# For base models without a chat template: plain text, without special tokens that such a model may not have.
_PLAIN = "{system}\n\nUser: {user}\nAssistant: "

# Llama 3.2's template falls back to this date where it cannot ask for the current one.
PROMPT_DATE = datetime(2024, 7, 26)
_DATE_DIRECTIVES = "aAbBcdeDFGhHIjmMpRSTuUVwWxXyY"  # of strftime; any other directive stays in the text as it is

PLACEHOLDER = "\ue000gti\ue000"  # private-use characters: marks the place of a text that is filled in later

ANSWER = "\ue001gti\ue001"  # likewise, for an answer

# Qwen3's template opens a thought otherwise; templates that do not know the option ignore it.
_NO_THOUGHT = {"enable_thinking": False}

# Chat template -> whether it accepts a system message. Each template is tried once, so the note is printed once.
_takes_system: dict[str, bool] = {}


def turns(tokenizer: PreTrainedTokenizerBase, system: str, user: str) -> list[dict[str, str]]:
    """Build the messages before the answer, ``[{"role": …, "content": …}, …]``, as the chat template accepts them.

    Some templates refuse a system message (Gemma 2, the first Mistral-Instruct). The system text then stands in front
    of the user's text, with a blank line between them.

    Args:
        tokenizer: Tokenizer whose chat template will render the messages.
        system: System text; empty for no system message.
        user: The user's text.

    Raises:
        InputError: When the template fails both with and without a system message.
    """
    if not system:
        return [{"role": "user", "content": user}]
    if not _system_taken(tokenizer):
        return [{"role": "user", "content": f"{system}\n\n{user}"}]
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def render_prompt(tokenizer: PreTrainedTokenizerBase, system: str, user: str) -> str:
    """Render the prompt as text, up to and including the marker that opens the assistant's answer.

    Raises:
        InputError: When the tokenizer's chat template cannot be rendered.
    """
    if tokenizer.chat_template is None:
        return _PLAIN.format(system=system, user=user).lstrip()
    messages = turns(tokenizer, system, user)
    form = thoughts.prompt_form(tokenizer)
    if form == thoughts.CONVERSATION:
        return _before_answer(tokenizer, messages)
    prompt = _render(tokenizer, messages)
    return thoughts.close(prompt) if form == thoughts.CLOSED else prompt


def split_prompt(tokenizer: PreTrainedTokenizerBase, system: str, user: str) -> tuple[str, str]:
    """Render the prompt of a user message that holds `PLACEHOLDER`, and split it there.

    Rendering a template is slow. For many texts it is enough to render once and to join each text to both parts.

    Args:
        tokenizer: Tokenizer of the model.
        system: System text; empty for no system message.
        user: The user's text, with `PLACEHOLDER` in it once.

    Returns:
        The prompt before the placeholder, and the prompt behind it.

    Raises:
        ValueError: When the template does not repeat the user's text.
    """
    before, placeholder, behind = render_prompt(tokenizer, system, user).partition(PLACEHOLDER)
    if not placeholder:
        raise ValueError("the chat template does not repeat the user's message")
    return before, behind


def choose_prompt_form(tokenizer: PreTrainedTokenizerBase) -> None:
    """Note in the tokenizer how its model is asked, where that is not as its chat template opens an answer.

    Called once, when a model gets its first new tokens. The note is saved with the tokenizer, so all later stages ask
    alike, and a checkpoint without a note is asked as it was trained. Only templates that speak of thoughts get one:

    - A finished conversation has other text before the answer than the template writes to open one (QwQ, R1 and its
      distils, GLM). The model is asked as in the conversation, because other tools train on that.
    - The template renders no finished conversation, and opens a thought. The thought is closed, empty.
    """
    if tokenizer.chat_template is None or "think" not in str(tokenizer.get_chat_template()):
        return
    try:
        messages = turns(tokenizer, "x", "x")
        opened = _render(tokenizer, messages)
    except InputError:
        return  # refused with its reason where a prompt is needed
    try:
        if _before_answer(tokenizer, messages) != opened:
            thoughts.note_prompt_form(tokenizer, thoughts.CONVERSATION)
    except InputError:
        if thoughts.is_open(opened):
            thoughts.note_prompt_form(tokenizer, thoughts.CLOSED)


def template_options(tokenizer: PreTrainedTokenizerBase) -> dict[str, bool]:
    """Return the options that the chat template needs to render a conversation as we train on it; often none.

    Some templates write into the system message that the model is to think (SmolLM3), unless they are told otherwise.
    """
    if tokenizer.chat_template is None:
        return {}
    messages = [*turns(tokenizer, "x", "x"), {"role": "assistant", "content": ANSWER}]
    try:
        told = _render(tokenizer, messages, opened=False)
        return {} if told == _render(tokenizer, messages, opened=False, options={}) else dict(_NO_THOUGHT)
    except InputError:  # it renders prompts only
        return {}


def render_conversation(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> str:
    """Render a finished conversation as text.

    Raises:
        InputError: When the tokenizer's chat template cannot render it.
    """
    return _render(tokenizer, messages, opened=False)


def _before_answer(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> str:
    """Render a conversation that ends with an answer, up to that answer.

    Raises:
        InputError: When the chat template cannot render it, or leaves out the answer.
    """
    text = _render(tokenizer, [*messages, {"role": "assistant", "content": ANSWER}], opened=False)
    before, answer, _ = text.partition(ANSWER)
    if not answer:
        raise InputError("the model's chat template leaves out the answer", where=tokenizer.name_or_path or None)
    return before


def _render(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, str]],
    opened: bool = True,
    options: Mapping[str, bool] | None = None,
) -> str:
    """Render messages as text.

    Args:
        tokenizer: Tokenizer with a chat template.
        messages: The messages.
        opened: Add the marker behind which the assistant's answer follows.
        options: Options of the template. None: the one that asks for no thought.

    Raises:
        InputError: When the template cannot render them.
    """
    from jinja2 import TemplateError

    given: dict[str, Any] = {**(_NO_THOUGHT if options is None else options)}
    try:
        return str(
            tokenizer.apply_chat_template(
                messages,
                chat_template=dated_template(tokenizer.get_chat_template()),
                tokenize=False,
                add_generation_prompt=opened,
                **given,
            )
        )
    except (TemplateError, TypeError, ValueError) as cause:
        raise InputError(
            f"the model's chat template cannot be rendered: {cause}",
            where=tokenizer.name_or_path or None,
            remedy="fix or replace it (chat_template.jinja, or chat_template in tokenizer_config.json); "
            "without a chat template, prompts are plain text",
        ) from cause


def dated_template(template: str) -> str:
    """Define ``strftime_now`` in front of a template that asks for the date, so that it answers `PROMPT_DATE`.

    It has to be a Jinja macro: transformers 5.23 offers no way to pass a function to a template.
    """
    if "strftime_now" not in template:
        return template
    # A macro cannot call strftime: it replaces each directive in the format by the text for PROMPT_DATE.
    parts = ["{% macro strftime_now(format) %}{{ format"]
    for letter in _DATE_DIRECTIVES:
        text = PROMPT_DATE.strftime(f"%{letter}")
        short = str(int(text)) if text.isdigit() else text  # "%-d": without leading zeros
        parts.append(f" | replace('%-{letter}', '{short}') | replace('%{letter}', '{text}')")
    # The macro has a line of its own, which `trim_blocks` removes: the rendered text begins as before.
    return "".join(parts) + " }}{% endmacro %}\n" + template


def _system_taken(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Try whether the chat template renders a system message; print a note where it refuses."""
    if tokenizer.chat_template is None:
        return True
    template = str(tokenizer.chat_template)
    if template not in _takes_system:
        system, user = {"role": "system", "content": "x"}, {"role": "user", "content": "x"}
        try:
            _render(tokenizer, [system, user])
            _takes_system[template] = True
        except InputError as refusal:
            _render(tokenizer, [user])  # raises where the template fails for another reason than the system message
            console.note(
                f"the chat template takes no system message ({str(refusal.__cause__).rstrip('.')}): "
                "the system text is put before the user's text"
            )
            _takes_system[template] = False
    return _takes_system[template]


def encode_prompt(tokenizer: PreTrainedTokenizerBase, system: str, user: str) -> list[int]:
    """Return the token ids of the prompt (see `render_prompt`)."""
    text = render_prompt(tokenizer, system, user)
    # A chat template writes the opening token itself. A plain prompt gets it from the tokenizer.
    return list(tokenizer(text, add_special_tokens=tokenizer.chat_template is None)["input_ids"])


def encode_answer(tokenizer: PreTrainedTokenizerBase, answer: str, end: bool = True) -> list[int]:
    """Return the token ids of the assistant's answer, with the end-of-turn token behind it unless ``end`` is False."""
    ids = list(tokenizer(answer, add_special_tokens=False)["input_ids"])
    return [*ids, end_of_turn(tokenizer)] if end else ids


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the token that ends an answer.

    It is ``<|im_end|>`` where the tokenizer has it, else the special token that its chat template writes behind an
    answer (``<end_of_turn>`` of Gemma), else its end-of-sequence token.

    Raises:
        InputError: When there is none of these.
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
    """Return the id of the special token that the chat template writes behind an answer; None where it writes none."""
    if tokenizer.chat_template is None:
        return None
    answer = "\ue000"  # private-use character: no template writes it
    try:
        text = _render(tokenizer, [*turns(tokenizer, "", "x"), {"role": "assistant", "content": answer}], opened=False)
    except InputError:  # some templates render prompts only, without an answer
        return None
    behind = text.partition(answer)[2].lstrip()
    special = {token.content: n for n, token in tokenizer.added_tokens_decoder.items() if token.special}
    # One special token may begin with another ("<end", "<end_of_turn>"): the longest one is meant.
    matches = [content for content in special if behind.startswith(content)]
    return special[max(matches, key=len)] if matches else None
