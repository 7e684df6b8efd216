"""Models whose chat template writes thoughts: what is trained, asked and rendered by others is the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gti_cli.prompts.chat import (
    choose_prompt_form,
    encode_answer,
    encode_prompt,
    render_prompt,
    template_options,
    turns,
)
from gti_cli.prompts.thoughts import CLOSED, CONVERSATION, close, is_open, prompt_form
from tests.support.models import CHAT_TEMPLATE, make_tokenizer
from tests.support.thinking import PROMPTS_ONLY, THINKING

# Where a finished conversation has other text before the answer than the template writes to open one.
OTHERWISE = {"qwen3-thinking", "qwq", "r1", "glm", "harmony"}


def chosen(template: str, folder: Path) -> Any:
    """A tokenizer with a chat template whose form of prompt was chosen, written and read again."""
    from transformers import AutoTokenizer

    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    choose_prompt_form(tokenizer)
    tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("family", THINKING)
@pytest.mark.parametrize("system", ["You know the shop.", ""])
def test_what_is_asked_and_answered_is_what_others_render(family: str, system: str, tmp_path: Path) -> None:
    template, end = THINKING[family]
    tokenizer = chosen(template, tmp_path)
    assert (prompt_form(tokenizer) == CONVERSATION) == (family in OTHERWISE)
    prompt = render_prompt(tokenizer, system, "Which item?")
    assert prompt.endswith(end) and not is_open(prompt)
    messages = [*turns(tokenizer, system, "Which item?"), {"role": "assistant", "content": "A red dress"}]
    whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **template_options(tokenizer))
    made = encode_prompt(tokenizer, system, "Which item?") + encode_answer(tokenizer, "A red dress")
    assert made == whole[: len(made)]


@pytest.mark.parametrize("family", THINKING)
def test_a_checkpoint_from_before_is_asked_as_it_was_trained(family: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = THINKING[family][0]
    messages = turns(tokenizer, "Context.", "Which?")
    opened = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert render_prompt(tokenizer, "Context.", "Which?") == opened
    assert is_open(opened) == (family in ("qwen3-thinking", "qwq", "r1"))


def test_options_are_given_where_the_template_needs_them() -> None:
    needed = {}
    for family, (template, _) in THINKING.items():
        tokenizer = make_tokenizer()
        tokenizer.chat_template = template
        needed[family] = template_options(tokenizer)
    assert {family for family, options in needed.items() if options} == {"smollm3", "glm"}
    assert needed["glm"] == {"enable_thinking": False}
    assert template_options(make_tokenizer()) == template_options(make_tokenizer(chat=False)) == {}


def test_a_thought_that_a_template_opens_is_closed_where_it_renders_no_answers(tmp_path: Path) -> None:
    tokenizer = chosen(PROMPTS_ONLY, tmp_path)
    assert prompt_form(tokenizer) == CLOSED
    assert render_prompt(tokenizer, "", "Which?").endswith("assistant\n<think>\n\n</think>\n\n")
    assert template_options(tokenizer) == {}


@pytest.mark.parametrize("template", [None, CHAT_TEMPLATE, "{{ 'think' }}{% if %}"])
def test_other_templates_leave_no_note(template: str | None, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(chat=False)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path / "before")
    choose_prompt_form(tokenizer)
    tokenizer.save_pretrained(tmp_path / "behind")
    before, behind = (
        json.loads((tmp_path / name / "tokenizer_config.json").read_text()) for name in ("before", "behind")
    )
    assert before == behind and prompt_form(tokenizer) is None


def test_open_thoughts() -> None:
    assert is_open("a<think>\n") and is_open("<think></think> <think>")
    assert not is_open("a") and not is_open("<think>b</think>\n") and not is_open("</think>")
    assert close("a<think>\n") == close("a<think>") == "a<think>\n\n</think>\n\n"
    assert close("<think></think>") == "<think></think>"
