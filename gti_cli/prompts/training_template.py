"""A copy of a chat template that marks what to train on, for trainers that read ``{% generation %}`` marks (TRL).

The copy renders with the original template, and then marks each answer and the token that ends it. So it needs no
knowledge of how the original is written. A conversation that ends with an answer ends with that token: what the
original writes behind it (often a line break) is left out, because `gti finetune` does not train on it either. Prompts
and conversations of several turns are rendered as the original renders them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from gti_cli.errors import InputError
from gti_cli.prompts.chat import (
    ANSWER,
    PLACEHOLDER,
    dated_template,
    end_of_turn,
    render_conversation,
    split_prompt,
    template_options,
    turns,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARK = re.compile(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}")

# @ORIGINAL@ renders into a variable. The loop then walks through that text, message by message.
_COPY = """{# Written by gti: the model's chat template, with each answer marked as what to train on. #}
@DEFAULTS@{% set gti_text %}
@ORIGINAL@{%+ endset %}
{% set gti = namespace(rest=gti_text, done='') %}
{% for gti_message in messages %}
{% if gti_message['content'] is string and gti_message['content'] %}
{% set gti_content = gti_message['content'] if gti_message['content'] in gti.rest else gti_message['content'] | trim %}
{% if gti_message['role'] == 'assistant' %}
{% set gti_parts = gti.rest.partition(gti_content ~ @CLOSING@) %}
{% if gti_parts[1] %}
{% set gti_before = gti.done ~ gti_parts[0] %}
@OPENING@{{ gti_before }}{% generation %}{{ gti_content ~ @END@ }}{% endgeneration %}
{% set gti.done = '' %}
{% set gti.rest = '' if loop.last and not add_generation_prompt else gti_parts[2] %}
{% endif %}
{% elif gti_content in gti.rest %}
{% set gti_parts = gti.rest.partition(gti_content) %}
{% set gti.done = gti.done ~ gti_parts[0] ~ gti_parts[1] %}
{% set gti.rest = gti_parts[2] %}
{% endif %}
{% endif %}
{% endfor %}
{{ gti.done ~ gti.rest }}"""

# Where the original writes something else before an answer than the prompts that the model is asked with.
_OPENING = """{% if loop.last and gti_before.endswith(@THEIRS@) %}
{% set gti_before = gti_before[:gti_before | length - @LENGTH@] ~ @OURS@ %}
{% endif %}
"""


def training_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a copy of the tokenizer's chat template with generation marks.

    Args:
        tokenizer: Tokenizer of the model that is to be trained.

    Returns:
        A Jinja template for transformers. It repeats `chat.PROMPT_DATE` where the original asks for the date, and
        does not think where the original would think unless told otherwise.

    Raises:
        InputError: When the tokenizer has no chat template, or one that renders no finished conversation.
    """
    where = tokenizer.name_or_path or None
    remedy = "use --format prompt-completion, which needs no chat template"
    if tokenizer.chat_template is None:
        raise InputError("the tokenizer has no chat template to mark", where=where, remedy=remedy)
    theirs, behind = _around_answer(tokenizer)
    if theirs is None:
        raise InputError("the chat template renders no finished conversation", where=where, remedy=remedy)
    ours = split_prompt(tokenizer, "", PLACEHOLDER)[1]
    end = str(tokenizer.convert_ids_to_tokens(end_of_turn(tokenizer)))
    defaults = "".join(
        f"{{% set {name} = {name} if {name} is defined else {str(value).lower()} %}}\n"
        for name, value in template_options(tokenizer).items()
    )
    original = dated_template(_MARK.sub(_without_mark, str(tokenizer.get_chat_template())))
    texts = {
        "@DEFAULTS@": defaults,
        "@ORIGINAL@": original.removesuffix("\n"),  # Jinja drops the last line break of a template
        "@CLOSING@": _quoted(behind.partition(end)[0] + end if end in behind else ""),
        "@END@": _quoted(end),
        "@THEIRS@": _quoted(theirs),
        "@OURS@": _quoted(ours),
        "@LENGTH@": str(len(theirs)),
    }
    copy = _COPY.replace("@OPENING@", "" if theirs == ours else _OPENING)
    return re.sub("|".join(texts), lambda mark: texts[mark[0]], copy)


def _around_answer(tokenizer: PreTrainedTokenizerBase) -> tuple[str | None, str]:
    """Return what the template writes between the question and the answer, and behind the answer.

    The first is None where it renders no finished conversation.
    """
    messages = [*turns(tokenizer, "", PLACEHOLDER), {"role": "assistant", "content": ANSWER}]
    try:
        text = render_conversation(tokenizer, messages)
    except InputError:
        return None, ""
    between, answer, behind = text.partition(PLACEHOLDER)[2].partition(ANSWER)
    return (between if answer else None), behind


def _without_mark(mark: re.Match[str]) -> str:
    """Replace a mark of the original, which would mark the wrong place, by a block that does nothing."""
    return f"{{%{mark[1]} {'endif' if mark[2] else 'if true'} {mark[3]}%}}"


def _quoted(text: str) -> str:
    """Write a text as a Jinja string."""
    return json.dumps(text, ensure_ascii=False)
