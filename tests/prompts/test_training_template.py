"""A chat template with generation marks renders as the original, and marks the answers and their ends."""

from __future__ import annotations

from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.prompts.chat import choose_prompt_form, encode_answer, encode_prompt, turns
from gti_cli.prompts.training_template import training_template
from tests.support.models import CHAT_TEMPLATE, make_tokenizer
from tests.support.thinking import PROMPTS_ONLY, THINKING

# As Llama 2 and Mistral: a space before the answer, and the begin-of-sequence token once for each question.
SPACED = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set messages = messages[1:] %}"
    "{% endif %}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + (system + '\\n\\n' if loop.first and system else '') + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + '<|im_end|>' }}{% endif %}{% endfor %}\n"
)
TEMPLATES = {
    "chatml": CHAT_TEMPLATE,
    # As Gemma: white space around a text is cut.
    "trimmed": CHAT_TEMPLATE.replace("m['content']", "m['content'] | trim"),
    "spaced": SPACED,
    "dated": "{{ strftime_now('%d %B %Y') }}\n" + CHAT_TEMPLATE,
    "marked": CHAT_TEMPLATE.replace("{{ m['content'] }}", "{%- generation -%}{{ m['content'] }}{% endgeneration %}"),
    **{family: template for family, (template, _) in THINKING.items()},
}
QUESTION = ("You know the shop.", "Which item?\n  <a_1>?")


def marked(tokenizer: Any, messages: list[dict[str, str]], template: str) -> tuple[list[int], list[int]]:
    """Token ids, and those that carry the loss, by transformers' own reading of the marks."""
    made = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    trained = [token for token, on in zip(made["input_ids"], made["assistant_masks"], strict=True) if on]
    return made["input_ids"], trained


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "from before"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_finished_conversation_is_what_we_train_on(name: str, noted: bool) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATES[name]
    if noted:
        choose_prompt_form(tokenizer)
    template = training_template(tokenizer)
    for system, user in (QUESTION, ("", QUESTION[1])):
        for answer in ("A red dress", "<a_1>"):
            messages = [*turns(tokenizer, system, user), {"role": "assistant", "content": answer}]
            prompt, end = encode_prompt(tokenizer, system, user), encode_answer(tokenizer, answer)
            assert marked(tokenizer, messages, template) == (prompt + end, end)


@pytest.mark.parametrize("name", ["chatml", "trimmed", "qwen3", "smollm3", "marked"])
def test_everything_else_is_rendered_as_by_the_original(name: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATES[name]
    template = training_template(tokenizer)
    asked = turns(tokenizer, *QUESTION)
    several = [*asked, {"role": "assistant", "content": "An item?"}, {"role": "user", "content": "item?"}]
    told: Any = {"enable_thinking": False, "tokenize": False}
    for messages in (asked, several):
        for opened in (True, False):
            told["add_generation_prompt"] = opened
            original = tokenizer.apply_chat_template(messages, **told)
            assert tokenizer.apply_chat_template(messages, chat_template=template, **told) == original
    assert tokenizer.decode(marked(tokenizer, several, template)[1]) == "An item?<|im_end|>"


@pytest.mark.parametrize(("template", "problem"), [(None, "no chat template"), (PROMPTS_ONLY, "no finished")])
def test_templates_that_cannot_be_marked_are_refused(template: str | None, problem: str) -> None:
    tokenizer = make_tokenizer(chat=False)
    tokenizer.chat_template = template
    with pytest.raises(InputError, match=rf"{problem}.*--format prompt-completion"):
        training_template(tokenizer)
