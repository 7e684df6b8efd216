"""Conversations as messages and as tokens; the fast way to encode them equals the plain one."""

from __future__ import annotations

from typing import Any

import pytest

from gti_cli.prompts import lc_rec
from gti_cli.prompts.chat import encode_answer, encode_prompt
from gti_cli.prompts.conversations import Conversation, encode_conversations, rendered_otherwise
from tests.support.models import CHAT_TEMPLATE, make_tokenizer
from tests.support.thinking import PROMPTS_ONLY


@pytest.mark.parametrize("chat", [True, False])
def test_many_at_once_equal_one_by_one(chat: bool) -> None:
    tokenizer: Any = make_tokenizer(chat=chat)
    given = [
        Conversation("a", "You know things.", "What is it?\na red\nréd dress", "Coats.  And more"),
        Conversation("b", "", "x", "y"),
        Conversation("a", "You know things.", "And this: {item}?", ""),
        lc_rec.titles_to_item(["red\ndress", "coat"], "<a_1>"),
    ]
    found = encode_conversations(tokenizer, given)
    for conversation, example in zip(given, found, strict=True):
        assert example.prompt == encode_prompt(tokenizer, conversation.system, conversation.user)
        assert example.answer == encode_answer(tokenizer, conversation.assistant)
    assert encode_conversations(tokenizer, []) == []


def test_messages() -> None:
    tokenizer: Any = make_tokenizer()
    question = {"role": "user", "content": "u"}
    answer = {"role": "assistant", "content": "a"}
    given = Conversation("k", "s", "u", "a")
    assert given.messages(tokenizer) == [{"role": "system", "content": "s"}, question, answer]
    assert Conversation("k", "", "u", "a").messages(tokenizer) == [question, answer]
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    tokenizer.chat_template = refusal + tokenizer.chat_template
    assert given.messages(tokenizer) == [{"role": "user", "content": "s\n\nu"}, answer]


@pytest.mark.parametrize(
    ("template", "difference"),
    [
        (None, "no chat template"),
        (CHAT_TEMPLATE, None),
        ("{{ strftime_now('%d %b %Y') }}" + CHAT_TEMPLATE, "the date of the day"),
        (PROMPTS_ONLY, "renders no finished conversation"),
        # As Llama 2 and Mistral: a space before the answer, which the tokenizer joins to the answer's first word.
        (
            "{% for m in messages %}{% if m.role == 'assistant' %}{{ ' ' + m.content + '<|im_end|>' }}"
            "{% else %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endif %}{% endfor %}",
            "writes ' A",
        ),
        (CHAT_TEMPLATE.replace("<|im_end|>", ""), "where we train on '<|im_end|>'"),
    ],
)
def test_what_other_tools_make_of_a_conversation(template: str | None, difference: str | None) -> None:
    tokenizer = make_tokenizer(chat=False)
    tokenizer.chat_template = template
    found = rendered_otherwise(tokenizer, Conversation("search", "", "Which item?", "A red dress"))
    assert found is None if difference is None else difference in str(found)
