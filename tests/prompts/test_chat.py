"""Prompts and answers as text and as token ids, with chat templates and without."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.prompts.chat import (
    PLACEHOLDER,
    PROMPT_DATE,
    encode_answer,
    encode_prompt,
    end_of_turn,
    render_prompt,
    split_prompt,
    turns,
)
from tests.support.models import CHAT_TEMPLATE, make_tokenizer

REFUSING = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"


def test_prompt_and_answer_make_the_chat_templates_conversation() -> None:
    tokenizer = make_tokenizer()
    turns = [
        {"role": "system", "content": "You know the shop."},
        {"role": "user", "content": "Which item?"},
        {"role": "assistant", "content": "A red dress"},
    ]
    whole = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True)["input_ids"]
    made = encode_prompt(tokenizer, "You know the shop.", "Which item?") + encode_answer(tokenizer, "A red dress")
    assert made == whole[: len(made)]  # the template may put a line break behind the last turn
    assert made[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_empty_system_message_is_left_out() -> None:
    assert "system" not in render_prompt(make_tokenizer(), "", "Which item?")


def test_model_without_chat_template_gets_plain_words() -> None:
    tokenizer = make_tokenizer(chat=False)
    assert render_prompt(tokenizer, "Context.", "Which?") == "Context.\n\nUser: Which?\nAssistant: "
    assert tokenizer.decode(encode_prompt(tokenizer, "", "Which?")) == "User: Which?\nAssistant: "


@pytest.mark.parametrize("chat", [True, False])
def test_a_split_prompt_joins_around_any_text(chat: bool) -> None:
    tokenizer = make_tokenizer(chat=chat)
    parts = split_prompt(tokenizer, "Context.", f"Which?\n{PLACEHOLDER}")
    for text in ("a red dress", "{text} %s", ""):
        assert text.join(parts) == render_prompt(tokenizer, "Context.", f"Which?\n{text}")


def test_a_template_that_drops_the_users_words_cannot_be_split() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "Answer the question."
    with pytest.raises(ValueError, match="does not repeat the user's message"):
        split_prompt(tokenizer, "", PLACEHOLDER)


def test_plain_prompt_begins_with_the_tokenizers_own_opening_token() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer(chat=False)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    assert encode_prompt(tokenizer, "", "x")[0] == 0
    assert encode_answer(tokenizer, "x")[0] != 0


@pytest.mark.parametrize("chat", [True, False])
def test_answer_without_end(chat: bool) -> None:
    tokenizer = make_tokenizer(chat=chat)
    assert [*encode_answer(tokenizer, "red", end=False), end_of_turn(tokenizer)] == encode_answer(tokenizer, "red")
    assert tokenizer.decode(encode_answer(tokenizer, "red", end=False)) == "red"


def test_end_of_turn_falls_back_to_end_of_sequence() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"</s>": 0, "x": 1, "<unk>": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", unk_token="<unk>")
    assert end_of_turn(tokenizer) == 0
    tokenizer.eos_token = None
    with pytest.raises(InputError, match=r"no end-of-sequence token.*Name one of its tokens as eos_token"):
        end_of_turn(tokenizer)


def test_an_answer_ends_as_the_template_ends_it() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"<eos>": 0, "red": 1, "<unk>": 2}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", unk_token="<unk>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end_of_turn>", "<end"]})
    end = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert end_of_turn(tokenizer) == 0
    for template, expected in (
        ("{% for m in messages %}{{ m['role'] }} {{ m['content'] }}<end_of_turn>\n{% endfor %}", end),
        ("{% for m in messages %}{{ m['content'] }} {{ eos_token }}{% endfor %}", 0),
        ("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", 0),
        ("{% if messages|length > 1 %}{{ raise_exception('one question') }}{% endif %}{{ messages[0].content }}", 0),
    ):
        tokenizer.chat_template = template
        assert end_of_turn(tokenizer) == expected
        assert encode_answer(tokenizer, "red") == [1, expected]


def test_system_text_stands_before_the_users_where_the_template_refuses_it(capsys: Any) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = REFUSING + CHAT_TEMPLATE + "{# a template of its own #}"
    expected = "<|im_start|>user\nContext.\n\nWhich?<|im_end|>\n<|im_start|>assistant\n"
    assert render_prompt(tokenizer, "Context.", "Which?") == expected
    assert render_prompt(tokenizer, "", "Which?") == expected.replace("Context.\n\n", "")
    assert turns(tokenizer, "Context.", "Which?") == [{"role": "user", "content": "Context.\n\nWhich?"}]
    again = make_tokenizer()
    again.chat_template = tokenizer.chat_template
    render_prompt(again, "Context.", "And?")
    assert capsys.readouterr().err.count("takes no system message (System role not supported)") == 1


@pytest.mark.parametrize("template", ["{{ raise_exception('No.') }}", "{% if %}", "{{ 1 + messages[0]['content'] }}"])
def test_template_that_fails_anyway(template: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template, tokenizer.name_or_path = template, "some/model"
    for system in ("Context.", ""):
        with pytest.raises(InputError, match=r"^some/model: the model's chat template cannot be rendered: .*Fix"):
            render_prompt(tokenizer, system, "Which?")


# The date as Llama 3.2's template writes it, and inside a macro with a named argument.
DATED = (
    "  {% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% else %}{% set date_string = '?' %}{% endif %}{% endif %}\n"
    "{% macro today() %}{{ strftime_now(format='%B %-d, %Y, %Y-%m-%d, %A, %H:%M:%S') }}{% endmacro %}"
    "{{ date_string }}; {{ today() }}\n"
)


def test_prompts_depend_on_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers.utils.chat_template_utils as theirs

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Clock:
            return cls(2031, 1, 5, 12, 30, 59)

    monkeypatch.setattr(theirs, "datetime", Clock)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = DATED + CHAT_TEMPLATE
    turn = [{"role": "user", "content": "Which?"}]
    plain = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    today = "05 Jan 2031; January 5, 2031, 2031-01-05, Sunday, 12:30:59\n"
    assert plain.startswith(today)
    # Everything but the date is as transformers renders it.
    fixed = PROMPT_DATE.strftime("%d %b %Y; %B %-d, %Y, %Y-%m-%d, %A, %H:%M:%S\n")
    assert fixed == "26 Jul 2024; July 26, 2024, 2024-07-26, Friday, 00:00:00\n"
    assert render_prompt(tokenizer, "", "Which?") == fixed + plain.removeprefix(today)
