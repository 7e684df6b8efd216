"""What other trainers make of a row: texts that are tokenised together, and how a difference is told."""

from __future__ import annotations

from typing import Any

import pytest

from gti_cli.prompts.conversations import Conversation, encode_conversations
from gti_cli.prompts.examples import Example
from gti_cli.prompts.other_trainers import Reading, as_texts, difference, read_rendered, read_texts
from tests.support.models import CHAT_TEMPLATE, make_tokenizer
from tests.support.thinking import PROMPTS_ONLY, THINKING

GIVEN = [Conversation("search", "You know.", "Which item?", "A red dress"), Conversation("text", "", "x", "<a_1>")]


def opening_tokenizer(template: str | None) -> Any:
    """A tokenizer that puts a token before every text, as Llama's does."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer(chat=False)
    tokenizer.chat_template = template
    tokenizer.bos_token = "<|im_start|>"
    token = ("<|im_start|>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[token])
    return tokenizer


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, "{{ bos_token }}" + CHAT_TEMPLATE, THINKING["qwen3"][0]])
@pytest.mark.parametrize("opening", [True, False])
def test_prompt_and_completion_are_what_we_train_on(template: str, opening: bool) -> None:
    tokenizer = opening_tokenizer(template) if opening else make_tokenizer()
    tokenizer.chat_template = template
    texts = as_texts(tokenizer, GIVEN)
    assert [completion for _, completion in texts] == ["A red dress<|im_end|>", "<a_1><|im_end|>"]
    for (prompt, completion), example in zip(texts, encode_conversations(tokenizer, GIVEN), strict=True):
        # As TRL's documentation has it: the prompt alone, and both together.
        assert tokenizer(prompt)["input_ids"] == example.prompt
        assert tokenizer(prompt + completion)["input_ids"] == example.prompt + example.answer
    found = [
        difference(tokenizer, *pair)
        for pair in zip(encode_conversations(tokenizer, GIVEN), read_texts(tokenizer, texts), strict=True)
    ]
    assert found == [None, None]


def test_tokens_that_merge_are_told() -> None:
    tokenizer = make_tokenizer(chat=False)  # a plain prompt ends with a space, which joins the answer's first word
    [example] = encode_conversations(tokenizer, GIVEN[:1])
    [reading] = read_texts(tokenizer, as_texts(tokenizer, GIVEN[:1]))
    assert reading.ids != example.prompt + example.answer
    assert str(difference(tokenizer, example, reading)).startswith("they read ' A")


def test_another_loss_is_told() -> None:
    tokenizer = make_tokenizer()
    a, b = tokenizer("a b")["input_ids"]
    assert difference(tokenizer, Example([a], [b]), Reading([a, b], [False, True])) is None
    assert difference(tokenizer, Example([a], [b]), Reading([a, b], [True, True])) == (
        "they train on 'a b' where we train on ' b'"
    )
    assert "they read ' b'" in str(difference(tokenizer, Example([a], [b]), Reading([a, b, b], [False, True, True])))


def test_rendered() -> None:
    tokenizer = make_tokenizer()
    rendered = read_rendered(tokenizer, GIVEN)
    assert rendered is not None
    for ids, example in zip(rendered, encode_conversations(tokenizer, GIVEN), strict=True):
        assert tokenizer.decode(ids[len(example) :]) == "\n" and ids[: len(example)] == example.prompt + example.answer
    tokenizer.chat_template = PROMPTS_ONLY
    assert read_rendered(tokenizer, GIVEN) is None
    assert read_rendered(tokenizer, []) == read_texts(tokenizer, []) == []
