"""Prompts and answers as token ids: chat templates, plain models, and where the answer begins."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import CHAT_TEMPLATE, make_tokenizer

from gti_cli.errors import InputError
from gti_cli.prompts.chat import encode_answer, encode_prompt, end_of_turn, render_prompt, turns

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


def test_system_text_stands_before_the_users_where_the_template_refuses_it(capsys: Any) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = REFUSING + CHAT_TEMPLATE + "{# said once #}"
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
        with pytest.raises(InputError, match=r"^some/model: the model's chat template cannot be rendered: .*Mend"):
            render_prompt(tokenizer, system, "Which?")
