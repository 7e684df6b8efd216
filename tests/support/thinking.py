"""Chat templates that write thoughts, in the ways of several families of reasoning models; our own, and short."""

from __future__ import annotations

_TURN = "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
_OPEN = "{{ '<|im_start|>assistant\\n<think>\\n' }}"
_EMPTY = "<think>\\n\\n</think>\\n\\n"
_NO_THINKING = "enable_thinking is defined and not enable_thinking"


def _template(answer: str, opening: str, other: str = _TURN, before: str = "") -> str:
    return (
        before
        + "{% for m in messages %}{% if m.role == 'assistant' %}"
        + answer
        + "{% else %}"
        + other
        + "{% endif %}{% endfor %}{% if add_generation_prompt %}"
        + opening
        + "{% endif %}"
    )


def _assistant(content: str) -> str:
    return "{{ '<|im_start|>assistant\\n' + " + content + " + '<|im_end|>\\n' }}"


_QWEN3_ANSWER = _assistant(f"'{_EMPTY}' + m.content")
_LAST = "m.content.split('</think>')[-1]"

# Family -> its template, and what our prompts end with.
THINKING: dict[str, tuple[str, str]] = {
    "qwen3": (
        _template(
            _QWEN3_ANSWER,
            "{{ '<|im_start|>assistant\\n' }}{% if " + _NO_THINKING + " %}{{ '" + _EMPTY + "' }}{% endif %}",
        ),
        "assistant\n<think>\n\n</think>\n\n",
    ),
    # Thinks always; a finished conversation has an empty thought.
    "qwen3-thinking": (_template(_QWEN3_ANSWER, _OPEN), "assistant\n<think>\n\n</think>\n\n"),
    # Finished conversations have no thoughts.
    "qwq": (_template(_assistant(_LAST + ".lstrip('\\n')"), _OPEN), "<|im_end|>\n<|im_start|>assistant\n"),
    "r1": (
        _template(
            "{{ '<Assistant>' + " + _LAST + " + '<|im_end|>' }}",
            "{{ '<Assistant><think>\\n' }}",
            "{{ m.content if m.role == 'system' else '<User>' + m.content }}",
        ),
        "<Assistant>",
    ),
    # Writes into the system message whether the model is to think.
    "smollm3": (
        _template(
            "{% if mode == '/think' %}"
            + _assistant("m.content")
            + "{% else %}"
            + _assistant("'<think>\\n\\n</think>\\n' + m.content")
            + "{% endif %}",
            "{{ '<|im_start|>assistant\\n' }}{% if mode != '/think' %}{{ '<think>\\n\\n</think>\\n' }}{% endif %}",
            "{% if m.role != 'system' %}" + _TURN + "{% endif %}",
            "{% set mode = '/no_think' if " + _NO_THINKING + " else '/think' %}"
            "{{ '<|im_start|>system\\nReasoning Mode: ' + mode + '\\n' }}"
            "{{ messages[0].content if messages[0].role == 'system' else '' }}{{ '<|im_end|>\\n' }}",
        ),
        "assistant\n<think>\n\n</think>\n",
    ),
    # Ends the thought with a line break in a finished conversation, without one where it opens an answer.
    "glm": (
        _template(
            "{{ '<|assistant|>\\n<think></think>\\n' + m.content.strip() + '<|im_end|>' }}",
            "{{ '<|assistant|>' }}{% if " + _NO_THINKING + " %}{{ '\\n<think></think>' }}{% endif %}",
            "{{ '<|' + m.role + '|>\\n' + m.content }}"
            "{% if m.role == 'user' and " + _NO_THINKING + " %}{{ '/nothink' }}{% endif %}",
        ),
        "/nothink<|assistant|>\n<think></think>\n",
    ),
    # An answer stands in a channel of its own, which the model opens itself.
    "harmony": (
        _template(
            "{% if m.thinking %}{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking }}{% endif %}"
            "{{ '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|im_end|>' }}",
            "{{ '<|start|>assistant' }}",
        ),
        "<|start|>assistant<|channel|>final<|message|>",
    ),
}
# Opens a thought, and renders no finished conversation.
PROMPTS_ONLY = _template("{{ raise_exception('no answers') }}", _OPEN)
