"""Prompts and answers as token ids: chat templates, plain models, and where the answer begins."""

from __future__ import annotations

import pytest
from conftest import make_tokenizer

from gti_cli.prompts.chat import encode_answer, encode_prompt, end_of_turn, render_prompt


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
